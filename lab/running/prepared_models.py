"""Models of a scenario made ready: ONNX file, requests, what the float model answers to them, accuracy where it has a task.

Owns: building zoo topologies, writing requests, reference outputs. Its rule: seeded, so that two runs measure the same networks on the
same numbers; the reference is plain onnxruntime on the whole float model. Not here: what is asked of agents (`visiting`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from bench import zoo
from bench.zoo.drawn_inputs import drawn_inputs
from demo import scoring, shapes
from edgesplit.planning.output_noise import output_noise
from lab.scenarios.scenario import ModelSpec

__all__ = ["Arrays", "PreparedModel", "prepare"]

Arrays = dict[str, NDArray[Any]]
DEMO_FILE = Path(shapes.__file__).with_name("shapes.onnx")
DEMO_CALIBRATION, DRAWN_CALIBRATION = 32, 8
"""Samples, as the demo takes, and of what is drawn as requests are. [1]"""


@dataclass(frozen=True)
class PreparedModel:
    """A model that can be added, asked and judged.

    Attributes:
        name: By which it is deployed.
        path: Its ONNX file.
        requests: Different ones, stacked along a new first axis, one array per input (.npz).
        request: The first of them (.npz), as `splitctl infer` takes it.
        calibration: Samples for int8, stacked along the batch (.npz); None for made-up ones.
        max_quantizable: Operators that may run in int8.
        reference: What the float model answers to each request.
        labels: What is true of each request, of a model with a task.
    """

    name: str
    path: Path
    requests: Path
    request: Path
    calibration: Path | None
    max_quantizable: int
    reference: tuple[Arrays, ...] = field(repr=False)
    labels: NDArray[Any] | None = field(default=None, repr=False)

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def noise(self, answers: Mapping[int, Arrays]) -> float | None:
        """Mean over requests of rho: the mean over outputs of the mean absolute difference from the float model's.

        Args:
            answers: Outputs by which request they answer.
        """
        if not answers:
            return None
        return float(
            np.mean(
                [
                    np.mean([output_noise(self.reference[index][name], outputs[name]) for name in outputs])
                    for index, outputs in answers.items()
                ]
            )
        )

    def accuracy(self, answers: Mapping[int, Arrays]) -> float | None:
        """Mean intersection over union of the demo's model over the requests that were answered, None of others."""
        if self.labels is None or not answers:
            return None
        logits = np.concatenate([answers[index][shapes.OUTPUT_NAME] for index in sorted(answers)])
        return scoring.mean_iou(logits, self.labels[sorted(answers)], len(shapes.CLASSES))


def prepare(spec: ModelSpec, folder: Path, beside: Path, seed: int) -> PreparedModel:
    """Make a model ready.

    Args:
        spec: What the scenario says.
        folder: For the files that are made.
        beside: What the scenario's paths are relative to.
        seed: Of weights and requests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = spec.called
    calibration = beside / spec.calibration if spec.calibration else None
    labels: NDArray[Any] | None = None
    if spec.demo:
        path = DEMO_FILE
        batch = shapes.held_out(spec.inputs)
        requests = [
            {key: array[index : index + 1] for key, array in batch.inputs.items()} for index in range(spec.inputs)
        ]
        labels = batch.labels
        if calibration is None:
            calibration = folder / f"{name}.calibration.npz"
            _save(calibration, shapes.calibration(DEMO_CALIBRATION))
    else:
        path = beside / spec.file
        if spec.zoo:
            path = folder / f"{name}.onnx"
            onnx.save(zoo.build(spec.zoo, seed=seed, scale=spec.scale, size=spec.size), path)
        requests = drawn_inputs(path, spec.inputs, seed)
        if calibration is None:
            calibration = folder / f"{name}.calibration.npz"
            samples = drawn_inputs(path, DRAWN_CALIBRATION, seed + 1)
            _save(calibration, {key: np.concatenate([sample[key] for sample in samples]) for key in samples[0]})
    stacked = folder / f"{name}.requests.npz"
    _save(stacked, {key: np.stack([request[key] for request in requests]) for key in requests[0]})
    first = folder / f"{name}.request.npz"
    _save(first, requests[0])
    return PreparedModel(
        name=name,
        path=path,
        requests=stacked,
        request=first,
        calibration=calibration,
        max_quantizable=spec.max_quantizable,
        reference=_answers(path, requests),
        labels=labels,
    )


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its other keyword is no array


def _answers(path: Path, requests: list[Arrays]) -> tuple[Arrays, ...]:
    """Of the whole float model, without edgesplit."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return tuple(dict(zip(names, session.run(None, request), strict=True)) for request in requests)
