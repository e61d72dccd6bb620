"""Recorder: runs components of a real model on one core and writes what an agent would have observed.

Owns: making a recording of this machine, quiet or disturbed on purpose. Its rule: plans of random cuts take turns, each for a
while, so that components are timed for the first time all along; the profile is taken on the same clock as the runs. Not here:
replaying (`forecasts.py`).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bench import zoo
from bench.profile_accuracy import NODES, compiled_components, random_assignment, stated_problem
from bench.profiled_models import ProfiledModel, profiled
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.compute.session_pool import RuntimeOptions, open_session
from edgesplit_controller.fleet.estimation.observations import (
    PartRan,
    PartsRan,
    ProfileSeen,
    SpeedObservation,
    WholeRan,
)
from edgesplit_controller.fleet.unit_times import unit_seconds
from edgesplit_controller.graph.graph_refs import tensor_specs
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.predicting.predictions import placed

__all__ = ["Disturbance", "recorded"]

OPTIONS = RuntimeOptions(threads=1)
SHAPE: dict[str, float] = {"scale": 0.25, "size": 320}
CANDIDATES = 12
PLAN_S, PLANS, FIRST_SEED = 20.0, 6, 0
"""How long a plan serves before the next; how many there are."""
LEAST_S = 3e-3
"""Shorter components are left out. [s]"""
MOMENTS, MOMENT_RUNS, APART_S = 5, 4, 1.0
WHOLE_RUNS = 6
BURNING = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@dataclass(frozen=True)
class Disturbance:
    """Another process on the same core.

    Attributes:
        begin_s, end_s: Of the recording. [s]
    """

    begin_s: float
    end_s: float


@dataclass(frozen=True)
class _Component:
    """One to run, beside what the profile says of it. [s]"""

    key: str
    float_s: float
    int8_s: float
    run: Callable[[], float]


def recorded(
    seconds: float,
    pause_s: float,
    disturbances: Sequence[Disturbance],
    clock: Callable[[], float],
    tell: Callable[[str], None],
) -> list[SpeedObservation]:
    """Run for some time and say what was observed.

    Args:
        seconds: So long. [s]
        pause_s: Between two requests. [s]
        disturbances: When another process takes half of the core.
        clock: What runs are timed with. [s]
        tell: Told what goes on.
    """
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        folder = Path(name)
        path = folder / "yolo_seg.onnx"
        onnx.save(zoo.build("yolo_seg", **SHAPE), path)  # type: ignore[arg-type]
        model = profiled(path, folder, limit=CANDIDATES)
        whole = _runner(
            model.blobs.path(model.offer.float_graph.digest), tensor_specs(model.graph, model.graph.inputs), clock
        )
        profile = _profile(model, whole)
        scale = profile.whole_s / model.profile.whole_s
        plans = [_plan(model, seed, scale, clock) for seed in range(FIRST_SEED, FIRST_SEED + PLANS)]
        tell(f"whole {profile.whole_s * 1e3:.1f} ms; components by plan: {[len(plan) for plan in plans]}")
        with _disturbed(disturbances, core):
            return [profile, *_observed(plans, whole, profile.whole_s, seconds, pause_s)]


def _observed(
    plans: Sequence[Sequence[_Component]], whole: Callable[[], float], whole_s: float, seconds: float, pause_s: float
) -> Iterator[SpeedObservation]:
    """Requests of one plan after another; between two plans the whole model is timed again."""
    begin_s, last = time.monotonic(), 0
    while (at_s := time.monotonic() - begin_s) < seconds:
        number = int(at_s / PLAN_S)
        if number != last:
            whole()
            samples = tuple(_short(whole()) for _ in range(WHOLE_RUNS))
            yield WholeRan(
                at_s=round(time.monotonic() - begin_s, 2),
                node="node",
                model="model",
                profiled_s=whole_s,
                samples=samples,
            )
            last = number
        parts = tuple(
            PartRan(key=part.key, float_s=part.float_s, int8_s=part.int8_s, samples=(_short(part.run()),))
            for part in plans[number % len(plans)]
        )
        yield PartsRan(at_s=round(time.monotonic() - begin_s, 2), node="node", model="model", parts=parts)
        time.sleep(pause_s)


def _profile(model: ProfiledModel, whole: Callable[[], float]) -> ProfileSeen:
    """The whole model on the recording's own clock, at several moments, in a row and after pauses."""
    medians: list[float] = []
    rested: list[float] = []
    for _ in range(MOMENTS):
        time.sleep(APART_S)
        rested.append(whole())
        medians.append(statistics.median(whole() for _ in range(MOMENT_RUNS)))
    whole_s, ratios = statistics.median(medians), [one / other for one, other in zip(rested, medians, strict=True)]
    return ProfileSeen(
        at_s=0.0,
        node="node",
        model="model",
        whole_s=_short(whole_s),
        rested_s=_short(whole_s * statistics.median(ratios)),
        whole_spread=_short(statistics.stdev(medians) / whole_s),
        moments=MOMENTS,
        rested_spread=_short(statistics.stdev(ratios) / MOMENTS**0.5),
    )


def _plan(model: ProfiledModel, seed: int, scale: float, clock: Callable[[], float]) -> tuple[_Component, ...]:
    """Components of a random cut, as all nodes together have them."""
    problem = stated_problem(model)
    assignment = random_assignment(problem, seed)
    stated = placed(problem, model.graph, model.quantizable, dict.fromkeys(NODES, model.profile), assignment)
    operators = {part.id: part.operators for part in evaluate(stated, assignment).components}
    profiles: dict[str, ExecutionProfile] = dict.fromkeys(NODES, model.profile)
    taken_s = unit_seconds(model.graph, model.quantizable, profiles, assignment)
    found: list[_Component] = []
    for spec in compiled_components(model, assignment):
        units = {model.graph.unit_of[name] for name in operators[spec.component]}
        float_s = scale * sum(taken_s[unit] for unit in units - assignment.quantized)
        int8_s = scale * sum(taken_s[unit] for unit in units & assignment.quantized)
        if float_s + int8_s >= LEAST_S:
            run = _runner(model.blobs.path(spec.graph.digest), spec.inputs, clock)
            run()
            found.append(_Component(spec.graph.digest[:8], _short(float_s), _short(int8_s), run))
    return tuple(found)


def _runner(path: Path, inputs: Sequence[TensorSpec], clock: Callable[[], float]) -> Callable[[], float]:
    """Run a session, warm; seconds of a run. [s]"""
    session, generator = open_session(path, OPTIONS), np.random.default_rng(0)
    arrays = {
        spec.name: (generator.random(spec.sizes) if np.dtype(spec.dtype).kind == "f" else np.zeros(spec.sizes)).astype(
            spec.dtype
        )
        for spec in inputs
    }

    def run() -> float:
        started = clock()
        session.run(None, arrays)
        return clock() - started

    run()
    return run


@contextmanager
def _disturbed(disturbances: Sequence[Disturbance], core: int) -> Iterator[None]:
    """Every disturbance sleeps until its time and ends by itself; what is left is ended at the end."""
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import os, time\nos.sched_setaffinity(0, {{{core}}})\ntime.sleep({entry.begin_s})\n{BURNING}",
                str(entry.end_s - entry.begin_s),
            ]
        )
        for entry in disturbances
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _short(value: float) -> float:
    """Four digits are more than a clock is worth, and keep recordings small."""
    return float(f"{value:.4g}")
