"""The course that one shipped model is sent over: added, deployed, asked, split by pins over three nodes, asked again.

Owns: the order of steps, what is timed and compared, and what is kept of it. Its rule: each model has programs of its own,
started for it and ended with it, so that memory and time are its own; what fails ends the course of this model alone, with
the sentence that a user would see. Not here: tables.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.process_memory import MemoryWatch
from bench.scene import broker
from bench.shipped_models.int8 import Int8Finding, ServedInt8, int8_on_real_inputs, serve_int8
from bench.shipped_models.real_inputs import real_inputs
from bench.shipped_models.sizes import Case, Hint, PlainModel, cases, hint_for
from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import EdgesplitError

__all__ = ["TOLERANCE", "Finding", "differences", "examine"]

TOLERANCE = 1e-4
"""Of each output's range."""
NODES = ("device", "edge", "cloud")
PINNED_TO = ("edge", "cloud", "device")
"""Early, middle and late units."""
ADD_S, SETTLE_S, DEADLINE_S = 600.0, 1200.0, 60.0
CALIBRATION = 32
"""Real inputs that are given as samples."""
SAMPLES, SERVED = 64, 32
"""Real inputs that noise is measured on, and how many of them a live plan is asked."""


@dataclass
class Finding:
    """What was found of one model.

    Attributes:
        shape: What was given as `--shape`; empty where nothing was.
        tried: Sizes that were asked for, and what the model does not admit.
        unsplit: Case to the largest difference of an output, of its range, before pins. [1]
        split: The same over the nodes that pins name. [1]
        nodes: That held components then.
        int8: Noise of operators in int8 in one process; `served`, that of a plan's answers, over those nodes.
        first_answer_s: From the start of `model add` to the first answer; the same to the first answer of the split plan
            counts from the first pin. [s]
        settled_s: From adding it once more, with samples, until noise and codecs were modelled. [s]
        peak_bytes: Largest memory of the controller's process; `limit_bytes` is three times the model and 300 MB. [B]
        all_bytes: Largest memory of it and the processes that it started, resident sizes summed. [B]
        once_bytes: The same, where files that several of them map count once. [B]
        failed: The sentence where something failed.
    """

    model: str
    nbytes: int
    shape: str = ""
    tried: tuple[str, ...] = ()
    operators: int = 0
    units: int = 0
    unsplit: dict[str, float] = field(default_factory=dict[str, float])
    split: dict[str, float] = field(default_factory=dict[str, float])
    nodes: tuple[str, ...] = ()
    int8: Int8Finding | None = None
    served: ServedInt8 | None = None
    first_answer_s: float | None = None
    first_split_answer_s: float | None = None
    settled_s: float | None = None
    peak_bytes: int = 0
    all_bytes: int = 0
    once_bytes: int = 0
    limit_bytes: int = 0
    warnings: tuple[str, ...] = ()
    failed: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing failed and every answer was the whole model's."""
        answers = (*self.unsplit.values(), *self.split.values())
        return not self.failed and bool(self.split) and all(difference <= TOLERANCE for difference in answers)

    @property
    def breaks_bound(self) -> bool:
        """Whether a bound on noise is proven broken."""
        found = (each.noise for each in (self.int8, self.served) if each is not None)
        return any(noise.breaks for noise in found if noise is not None)


def differences(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> dict[str, float]:
    """Largest difference of each output, of its range; infinite where type, shape or what is no number differ. [1]"""
    return {name: _difference(np.asarray(array), got.get(name)) for name, array in wanted.items()}


def _difference(wanted: Any, got: Any) -> float:
    if got is None or got.shape != wanted.shape or got.dtype != wanted.dtype:
        return float("inf")
    if wanted.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(wanted, got) else float("inf")
    if not wanted.size:
        return 0.0
    one, other = wanted.astype(np.float64), got.astype(np.float64)
    numbers = np.isfinite(one)
    if not np.array_equal(one[~numbers], other[~numbers], equal_nan=True) or not np.isfinite(other[numbers]).all():
        return float("inf")
    if not numbers.any():
        return 0.0
    scale = float(np.ptp(one[numbers])) or float(np.abs(one[numbers]).max()) or 1.0
    return float(np.abs(one[numbers] - other[numbers]).max()) / scale


def examine(file: Path, folder: Path, say: Callable[[str], None], *, int8: bool = True) -> Finding:
    """Send one model over the course.

    Args:
        file: As its package ships it.
        folder: For everything that the programs write.
        say: Told what happens.
        int8: Whether to wait for the noise model and measure int8.
    """
    finding = Finding(_name(file), file.stat().st_size)
    finding.limit_bytes = 3 * finding.nbytes + 300_000_000
    folder.mkdir(parents=True, exist_ok=True)
    try:
        plain = PlainModel(file)
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        finding.failed = f"plain onnxruntime does not load it: {str(error).splitlines()[0]}"
        return finding
    nodes = [EmulatedNode(name, compute_w=3.0, transmit_w=3.0) for name in NODES]
    try:
        with broker(folder) as url, LocalFleet(folder, nodes, broker=url) as fleet:
            fleet.start()
            fleet.await_nodes()
            controller = fleet.pid("controller")
            try:
                with _watched(controller, finding):
                    _course(_Course(file, hint_for(file), plain, fleet, finding, say), int8=int8)
            finally:
                finding.peak_bytes = _peak_bytes(controller)
                if gone := fleet.ended():
                    finding.failed = f"{', '.join(gone)} ended: {fleet.log(next(iter(gone)))[-2000:]}"
        if int8:
            say("measuring int8 on real inputs")
            finding.int8 = int8_on_real_inputs(
                folder / "store", finding.model, _samples(plain, hint_for(file), finding)
            )
    except CommandFailed as error:
        finding.failed = _sentence(error)
    except (EdgesplitError, TimeoutError) as error:
        finding.failed = str(error) or type(error).__name__
    return finding


@dataclass(frozen=True)
class _Course:
    file: Path
    hint: Hint
    plain: PlainModel
    fleet: LocalFleet
    finding: Finding
    say: Callable[[str], None]
    cases: dict[str, Case] = field(default_factory=dict[str, Case])

    def make(self, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
        made = real_inputs(self.hint.kind, self.plain.inputs, shapes, seed)
        if not self.hint.kind and not self.plain.admits(made):
            made = real_inputs("", self.plain.inputs, shapes, seed, below=1)  # an index that must be 0
        return made

    def ask(self, case: Case) -> float:
        """One request; the largest difference of its outputs. [1]"""
        inputs = self.make(case.shapes, seed=len(case.name))
        return max(differences(self.plain.run(inputs), asyncio.run(self._answered(inputs))).values())

    async def _answered(self, inputs: dict[str, Any]) -> dict[str, Any]:
        async with AsyncClient(self.fleet.address(NODES[0])) as client:
            return await client.infer(self.finding.model, inputs, deadline_s=DEADLINE_S)


def _course(course: _Course, *, int8: bool) -> None:
    finding, fleet, name = course.finding, course.fleet, course.finding.model
    options: list[str] = []
    for key, shape in course.hint.shape.items():
        if key in course.plain.inputs:
            options = ["--shape", f"{key}={'x'.join(map(str, shape))}"]
            finding.shape = options[1]
    started = time.monotonic()
    course.say(f"adding {' '.join(options)}")
    added = fleet.splitctl("model", "add", name, str(course.file), *options, timeout_s=ADD_S)
    finding.operators, finding.units = added["operators"], added["units"]
    finding.warnings = tuple(added["warnings"])
    fleet.splitctl("deploy", name, "--source", NODES[0], "--wait", "120")
    planned = _planned(course)
    first = course.ask(Case("planned", planned))
    finding.first_answer_s = time.monotonic() - started
    tried, missing = cases(course.plain, course.hint, planned, course.make)
    finding.tried = (*(case.name for case in tried), *missing)
    course.say(f"first answer after {finding.first_answer_s:.1f} s; asking for {', '.join(finding.tried)}")
    finding.unsplit = {"planned": first} | {case.name: course.ask(case) for case in tried}
    course.say("pinning early, middle and late units to three nodes")
    pinning = time.monotonic()
    finding.nodes = _split(course)
    course.cases.update({case.name: case for case in tried})
    for case in tried:
        finding.split[case.name] = course.ask(case)
        finding.first_split_answer_s = finding.first_split_answer_s or time.monotonic() - pinning
    course.say(f"split over {', '.join(finding.nodes)}: worst {max(finding.split.values()):.1e}")
    if int8:
        settling = time.monotonic()
        _with_calibration(course, planned, options)
        finding.settled_s = time.monotonic() - settling
        course.say("serving it in int8 under a bound")
        samples = _samples(course.plain, course.hint, finding)[:SERVED]
        finding.served = serve_int8(fleet, NODES[0], name, course.plain, samples)


def _with_calibration(course: _Course, planned: Mapping[str, tuple[int, ...]], options: Sequence[str]) -> None:
    """Add the model once more, with real inputs as samples, and wait for its noise model; answers stay the model's own."""
    finding, fleet, name = course.finding, course.fleet, course.finding.model
    samples = [course.make(planned, 1000 + seed) for seed in range(CALIBRATION)]
    file = fleet.folder / "calibration.npz"
    np.savez(file, **{key: _column([sample[key] for sample in samples]) for key in planned})
    course.say("adding it again with real inputs as samples, and waiting for the noise model")
    wanted = (
        "model",
        "add",
        name,
        str(course.file),
        *options,
        "--calibration",
        str(file),
        "--replace",
        "--wait",
        "all",
    )
    fleet.splitctl(*wanted, timeout_s=SETTLE_S)
    for case, difference in finding.split.items():
        finding.split[case] = max(difference, course.ask(course.cases[case]))


def _column(arrays: list[Any]) -> Any:
    """Samples of one input: its batch of 1 is their axis."""
    first = arrays[0]
    return np.concatenate(arrays) if first.ndim and first.shape[0] == 1 else np.stack(arrays)


def _planned(course: _Course) -> dict[str, tuple[int, ...]]:
    """The planning shape: the hint's, else what the controller assumed."""
    if course.finding.shape:
        return course.plain.shapes(course.hint.shape)
    document = course.fleet.splitctl("model", "show", course.finding.model)
    return {row["name"]: tuple(row.get("typical") or row["shape"]) for row in document["inputs"]}


def _split(course: _Course) -> tuple[str, ...]:
    """Pin thirds of the units to three nodes; the nodes that hold components then."""
    fleet, name = course.fleet, course.finding.model
    problem = fleet.folder / "problem.json"
    fleet.splitctl("plan", name, "--export", str(problem))
    document = json.loads(problem.read_text(encoding="utf-8"))
    bound = set(document["constraints"].get("pins") or {})
    free = [row["name"] for row in document["operators"] if not row.get("role") and row["name"] not in bound]
    bounds = [math.ceil(part * len(free) / len(PINNED_TO)) for part in range(len(PINNED_TO) + 1)]
    for part, node in enumerate(PINNED_TO):
        units = free[bounds[part] : bounds[part + 1]]
        if units:
            fleet.splitctl("pin", name, *units, "--node", node)
    plan = fleet.splitctl("plan", name)
    return tuple(node for node, share in plan["per_node"].items() if share["components"])


def _samples(plain: PlainModel, hint: Hint, finding: Finding) -> list[dict[str, Any]]:
    shapes = plain.shapes(hint.shape) if finding.shape else plain.shapes({})
    return [real_inputs(hint.kind, plain.inputs, shapes, 100 + seed) for seed in range(SAMPLES)]


def _peak_bytes(process: int) -> int:
    """Largest resident memory that a process had. [B]"""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def _watched(controller: int, finding: Finding) -> Generator[None]:
    """Keep the largest memory of the controller and all that it starts."""
    with MemoryWatch(controller).watching() as memory:
        try:
            yield
        finally:
            finding.all_bytes = max(finding.all_bytes, memory.together)
            finding.once_bytes = max(finding.once_bytes, memory.once)


def _sentence(error: CommandFailed) -> str:
    said = error.error
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        return str(said["error"]["message"])
    return str(said).strip().splitlines()[-1] if str(said).strip() else str(error)


def _name(file: Path) -> str:
    """A model's name that tells two files of one name apart by their folders."""
    parts = [file.stem] if file.stem != "model" else [*file.parts[-3:-1], file.stem]
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in "-".join(parts))
