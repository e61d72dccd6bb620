"""The demo model, a request to it and what its answer must be, for machines and for containers.

Owns: the files of a request and the comparison with the whole model. Its rule: an answer counts only when it equals
what onnxruntime gives for the unsplit model. Not here: how splitctl is reached.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from demo.shapes import INPUT_NAME, OUTPUT_NAME, calibration, held_out
from tests.services.material import REPOSITORY

__all__ = ["MODEL", "Request", "Splitctl", "helper_of", "nodes_online", "prepare_request"]

MODEL = "shapes"
TOLERANCE = 1e-4
"""Of the output's range: what rounding in another order may do to a float plan. [1]"""


class Splitctl(Protocol):
    """Runs splitctl somewhere in the fleet and returns its JSON document."""

    def __call__(self, *arguments: str) -> Any:
        """Run it with these arguments."""


@dataclass(frozen=True)
class Request:
    """Files `model.onnx`, `calibration.npz`, `input.npz` in a folder that the fleet sees, and the right answer.

    Attributes:
        expected: Of the unsplit model.
    """

    folder: Path
    expected: NDArray[np.float32]

    def check_output(self) -> None:
        """Compare `output.npz`, which splitctl wrote, with the whole model's and remove it."""
        path = self.folder / "output.npz"
        with np.load(path) as file:
            output = file[OUTPUT_NAME]
        path.unlink()
        error = float(np.max(np.abs(output - self.expected)) / np.ptp(self.expected))
        assert error <= TOLERANCE, f"outputs differ from the whole model's by {error:.2g} of their range"


def prepare_request(folder: Path) -> Request:
    """Write the files and compute the right answer."""
    folder.mkdir(parents=True, exist_ok=True)
    image = held_out(1).images
    # numpy's types take any array by name for its own options.
    save: Any = np.savez
    save(folder / "input.npz", **{INPUT_NAME: image})
    save(folder / "calibration.npz", **calibration(4))
    shutil.copyfile(REPOSITORY / "demo/shapes.onnx", folder / "model.onnx")
    shutil.copyfile(Path(__file__).with_name("keep_asking.py"), folder / "keep_asking.py")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run([OUTPUT_NAME], {INPUT_NAME: image})
    # The services' users read them through a shared folder.
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o644)
    return Request(folder, expected)


def nodes_online(splitctl: Splitctl) -> set[str]:
    """Names of the nodes the controller counts as online."""
    return {node["name"] for node in splitctl("nodes") if node["online"]}


def helper_of(splitctl: Splitctl, source: str = "device") -> str:
    """A node other than the source that the model's plan gives work; empty when there is none."""
    per_node = splitctl("plan", MODEL)["per_node"]
    return next((node for node, part in sorted(per_node.items()) if node != source and part["operators"]), "")
