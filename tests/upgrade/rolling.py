"""A rolling upgrade of a fleet under load, as docs/upgrading.md tells operators to do it.

Owns: the order of steps, and what has to hold before the next one. Its rule: no program that asks has to do anything but to be pointed at
another agent before its own is restarted; a source's part goes to another node meanwhile. Not here: processes
(`mixed_fleet.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from demo.fleet import EmulatedNode
from demo.shapes import INPUT_NAME, OUTPUT_NAME, held_out
from tests.upgrade.mixed_fleet import PREVIOUS, Load, MixedFleet, Release
from tests.waiting import blocking_until

__all__ = ["MODEL", "MODEL_FILE", "NODES", "Roll", "deploy_over_three", "nodes_named", "write_request"]

MODEL = "shapes"
MODEL_FILE = Path(__file__).parents[2] / "demo" / "shapes.onnx"
NODES = ("device", "edge", "cloud", "gate", "spare")
"""Source, its two helpers, the agent that programs ask, and one more."""
HELPERS = ("edge", "cloud")
ONLINE_WITHIN_S = 60.0


def nodes_named(*names: str) -> tuple[EmulatedNode, ...]:
    """Agents, the device slow, so that plans give others work."""
    slow_down = {"device": 8.0}
    return tuple(
        EmulatedNode(name, compute_w=3.0, transmit_w=1.0, slow_down=slow_down.get(name, 1.0)) for name in names
    )


def write_request(folder: Path) -> tuple[Path, Path]:
    """A request to the demo's model and what the whole model answers, as .npz files."""
    image = held_out(1).images
    request, expected = folder / "request.npz", folder / "expected.npz"
    session = onnxruntime.InferenceSession(MODEL_FILE, providers=["CPUExecutionProvider"])
    # numpy's types take any array by name for its own options.
    save: Any = np.savez
    save(request, **{INPUT_NAME: image})
    save(expected, **{OUTPUT_NAME: session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]})
    return request, expected


def deploy_over_three(fleet: MixedFleet, request: Path) -> None:
    """Add the model and have the device serve it with a part on each helper.

    One operator may run anywhere but on one helper, another anywhere but on the other one, and the device is slow: so both have a part, and what
    is needed while one of them is away may run on the source all the same.
    """
    operators = [node.name or node.output[0] for node in onnx.load(MODEL_FILE).graph.node]
    # In float: 0.1 looks into int8 before it answers, which takes minutes where others compute, and nothing here needs it.
    fleet.splitctl("model", "add", MODEL, str(MODEL_FILE), "--max-quantizable", "0")
    fleet.splitctl("deploy", MODEL, "--source", "device")
    for without, at in zip(reversed(HELPERS), (len(operators) // 3, 2 * len(operators) // 3), strict=True):
        nodes = [option for node in fleet.nodes if node != without for option in ("--node", node)]
        fleet.splitctl("pin", MODEL, operators[at], *nodes)
    assert set(fleet.await_serving(MODEL, request)["per_node"]) >= set(HELPERS)


@dataclass
class Roll:
    """One upgrade, step by step.

    Attributes:
        fleet: All of the previous release at first.
        load: That goes on meanwhile.
        request: To see whether the model is served as planned.
        tell: Told each step and what it took.
        took_s: By process. [s]
    """

    fleet: MixedFleet
    load: Load
    request: Path
    tell: Callable[[str], None]
    took_s: dict[str, float] = field(default_factory=dict[str, float])

    def replace_all(self, order: Sequence[str], release: Release) -> None:
        """Replace processes one by one, each once what it is for is as before."""
        for name in order:
            started_s = time.monotonic()
            if name == "controller":
                self.replace_controller(release)
            else:
                self.replace_agent(name, release)
            self.took_s[name] = time.monotonic() - started_s
            self.tell(f"{name} is of {release} release after {self.took_s[name]:.1f} s")

    def replace_controller(self, release: Release) -> None:
        """The controller, on its store."""
        before = self.fleet.splitctl("plan", MODEL)
        self.fleet.replace("controller", release)
        after = self.fleet.await_serving(MODEL, self.request)
        assert after["epoch"] >= before["epoch"], "epochs went back"
        assert set(after["per_node"]) >= set(HELPERS), f"a node is not planned on any more: {after}"

    def replace_agent(self, name: str, release: Release) -> None:
        """An agent, on its cache."""
        another = next(
            node for node in ("gate", "spare", "device", "edge") if node in self.fleet.nodes and node != name
        )
        asked_here, is_source = self.load.node == name, self.fleet.splitctl("plan", MODEL)["source"] == name
        if asked_here:
            self.load.move(another)
        if is_source:
            self.fleet.splitctl("deploy", MODEL, "--source", another)
        blocking_until(
            lambda: self._may_be_lost(name), f"a plan for the loss of {name}", within_s=ONLINE_WITHIN_S, poll_s=0.2
        )
        before = self.fleet.versions()
        self.fleet.replace(name, release)
        blocking_until(
            lambda: self._is_back(name, before), f"that {name} is back", within_s=ONLINE_WITHIN_S, poll_s=0.2
        )
        if is_source:
            self.fleet.splitctl("deploy", MODEL, "--source", name)
        # Once the controller has planned with it again: it is to know the node, and its plan, when it is replaced itself.
        blocking_until(lambda: name in self._planned_on(), f"a plan that knows {name}", within_s=ONLINE_WITHIN_S)
        self.fleet.await_serving(MODEL, self.request)
        if asked_here:
            self.load.move(name)

    def _may_be_lost(self, name: str) -> bool:
        """Whether the plan that serves does without a node, or another is prepared for its loss."""
        plan = self.fleet.splitctl("plan", MODEL)
        fallback = plan["fallbacks"].get(name)
        used = {component["node"] for component in plan["components"]}
        return name not in used or (fallback is not None and fallback["prepared"])

    def _planned_on(self) -> set[str]:
        """Nodes that the plan which serves was made with."""
        return set(self.fleet.splitctl("plan", MODEL)["per_node"])

    def _is_back(self, name: str, before: dict[str, str]) -> bool:
        versions = self.fleet.versions()
        was = before[name] == PREVIOUS
        return set(versions) == set(before) and was != (versions[name] == PREVIOUS)
