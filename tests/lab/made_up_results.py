"""Made-up results of a run, seeded: a grid in rounds, baselines, a script of changes, and gaps as real runs have them."""

from __future__ import annotations

import random
from collections.abc import Callable

from lab.play_results import DynamicRun, EnergySample, OraclePlan, PlanCost, Reaction, ScriptedChange, TracedRequest
from lab.results import (
    BesideLoop,
    Cell,
    ExecutedComponent,
    FailedStep,
    ModelFacts,
    NoiseFitFacts,
    PlanFacts,
    PlannedStep,
    Results,
    Setting,
)

__all__ = ["BOUNDS", "CONFIGURATIONS", "WEIGHTS", "made_up_results"]

CONFIGURATIONS = (("device",), ("device", "edge"), ("device", "edge", "cloud"))
WEIGHTS = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
BOUNDS = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.5)
BEGAN_S = 1_764_400_000.0
MODEL = "yolo-seg"
METHODS = {"device": 1.0, "edge": 0.72, "cloud": 0.46, "neurosurgeon": 0.44, "dads": 0.42, "heft": 0.41, "study": 0.38}
STRATEGIES = {
    "edgesplit": 1.02, "oracle": 1.0, "pause-resume": 1.05, "static:split": 1.6, "static:device": 2.8,
    "static:edge": 2.0, "static:cloud": 2.3,
}  # fmt: skip


def made_up_results(
    seed: int = 1, *, rounds: int = 3, slowness: Callable[[Cell], float] = lambda _cell: 1.0, complete: bool = False
) -> Results:
    """A run in the study's shape.

    Args:
        seed: Of everything.
        rounds: Of the grid.
        slowness: Factor on the latencies and energy of edgesplit's cells, by which a test makes them lose.
        complete: Without the gaps: else one cell has no requests, one step failed, one baseline's edge has no requests, and the run ends
            before the end.
    """
    generator = random.Random(seed)
    results = Results(
        scenario={
            "scenario": {"name": "made-up", "title": "Made-up results"},
            "grid": {"configurations": CONFIGURATIONS, "weights": WEIGHTS, "max_noise": BOUNDS, "rounds": rounds},
            "baselines": {"methods": list(METHODS), "max_noise": [0.0, 0.05, 0.1]},
        },
        scenario_name="made-up",
        digest="0" * 64,
        command="python -m lab run made-up",
        began_unix_s=BEGAN_S,
        ended_unix_s=BEGAN_S + 5400 if complete else None,
        complete=complete,
        setting=Setting(
            kernel="Linux 6.1.0",
            cpu="Made-up processor <&> 2.0 GHz",
            cores=2,
            memory_bytes=8_000_000_000,
            python="3.11.7",
            packages={"onnxruntime": "1.23.0", "numpy": "2.4.6"},
            edgesplit_version="0.1.0",
            commit="f" * 40,
        ),
        models={MODEL: _model(generator)},
    )
    visit = 0
    for number in range(1, rounds + 1):
        for nodes in CONFIGURATIONS:
            for weights in WEIGHTS:
                for bound in BOUNDS:
                    visit += 1
                    cell = _cell(generator, nodes, weights, bound, visit, number)
                    _measure(generator, cell, slowness(cell))
                    results.cells.append(cell)
                    if bound in {0.0, 0.05, 0.1}:
                        results.baselines += _beside(generator, cell)
    results.dynamics = [_course(generator, strategy, factor) for strategy, factor in STRATEGIES.items()]
    if not complete:
        _make_gaps(results)
    return results


def _make_gaps(results: Results) -> None:
    gone = (("device", "edge"), 0.2)
    results.cells = [cell for cell in results.cells if (tuple(cell.nodes), cell.max_noise) != gone]
    results.failures = [FailedStep(id="device+edge/1/0.2", reason="no plan keeps the bound <0.2>")]
    results.cells[-1].latencies_s = []
    for cell in results.baselines:
        if cell.method == "edge":
            cell.latencies_s, cell.energy_j = [], None


def _model(generator: random.Random) -> ModelFacts:
    fits = []
    for degree, off in ((2, 0.006), (3, 0.0015)):
        measured = sorted(generator.uniform(0, 0.6) for _ in range(120))
        fits.append(
            NoiseFitFacts(
                degree=degree,
                r2_train=1 - off / 10,
                r2_test=1 - off / 4,
                measured=measured,
                predicted=[noise + generator.gauss(0, off * 2) for noise in measured],
                held_out=[generator.random() < 0.25 for _ in measured],
            )
        )
    return ModelFacts(
        file_sha256="a" * 64, nbytes=36_000_000, operators=650, units=231, add_s=1.4, profile_s=11.0, noise_s=83.0,
        quantizable=[f"Conv_{number}" for number in range(12)], full_noise=0.61, fits=fits,
    )  # fmt: skip


def _latency_s(nodes: tuple[str, ...], weights: tuple[float, float], bound: float) -> float:
    return {1: 1.30, 2: 0.90, 3: 0.45}[len(nodes)] * (1.0 - 0.5 * min(bound, 0.2)) * (1.0 + 0.15 * weights[1])


def _cell(
    generator: random.Random,
    nodes: tuple[str, ...],
    weights: tuple[float, float],
    bound: float,
    visit: int,
    number: int,
) -> Cell:
    latency_s = _latency_s(nodes, weights, bound)
    counts = {1: [231], 2: [231 - int(150 * (1 - bound)), int(150 * (1 - bound))], 3: [int(200 * bound), 30, 0]}[
        len(nodes)
    ]
    counts[-1] += 231 - sum(counts)
    split = {node: count for node, count in zip(nodes, counts, strict=True) if count}
    timeline = _timeline(list(split), latency_s)
    return Cell(
        id=f"{'+'.join(nodes)}/{weights[0]:g}/{bound:g}/{number}",
        model=MODEL, nodes=list(nodes), latency_weight=weights[0], energy_weight=weights[1], max_noise=bound,
        at_unix_s=BEGAN_S + 20 * visit, visit=visit, round=number,
        plan=PlanFacts(
            status="optimal",
            predicted_s=latency_s * generator.gauss(1, 0.01),
            interval_s=(latency_s * 0.96, latency_s * 1.04),
            predicted_j=3 * latency_s,
            predicted_noise=bound * 0.9,
            operators=split,
            components={node: 1 + int(3 * bound) if node == "device" else 1 for node in split},
            quantized=[f"Conv_{place}" for place in range(int(12 * min(bound * 4, 1)))],
            codecs={"x": "float16"} if bound else {},
            timeline=timeline,
            solve_s=0.05 * 3 ** len(nodes) * generator.uniform(0.8, 1.2),
            deploy_s=generator.uniform(1, 3),
        ),
        latencies_s=[],
        executed=[
            ExecutedComponent(component=step.what, node=step.node, start_s=step.start_s * 1.02, end_s=step.end_s * 1.02)
            for step in timeline
            if step.node
        ],
    )  # fmt: skip


def _timeline(nodes: list[str], latency_s: float) -> list[PlannedStep]:
    """The first node works on beside the others."""
    steps = [PlannedStep(kind="compute", what="component 0", node=nodes[0], start_s=0.0, end_s=latency_s * 0.4)]
    for place, node in enumerate(nodes[1:], 1):
        start = latency_s * (0.3 + 0.2 * place)
        link = f"{nodes[place - 1]}->{node}"
        steps.append(
            PlannedStep(kind="transfer", what=f"t{place}", link=link, start_s=start - 0.1 * latency_s, end_s=start)
        )
        steps.append(
            PlannedStep(
                kind="compute", what=f"component {place}", node=node, start_s=start, end_s=start + latency_s * 0.25
            )
        )
    steps.append(
        PlannedStep(
            kind="compute", what="component 9 of the tail", node=nodes[0], start_s=latency_s * 0.6, end_s=latency_s
        )
    )
    return steps


def _measure(generator: random.Random, cell: Cell, factor: float) -> None:
    host = generator.gauss(1, 0.012) * factor
    base_s = _latency_s(tuple(cell.nodes), (cell.latency_weight, cell.energy_weight), cell.max_noise)
    _fill(generator, cell, base_s * host)


def _fill(generator: random.Random, cell: Cell, median_s: float) -> None:
    cell.latencies_s = [median_s * generator.lognormvariate(0, 0.015) for _ in range(11)]
    cell.energy_j = 3 * median_s * (1 - 0.2 * cell.energy_weight)
    cell.energy_origin = "configured"
    cell.noise_measured = cell.max_noise * 0.8
    cell.compute_s = {node: median_s / len(cell.nodes) for node in cell.nodes}
    cell.controls = {
        node: BesideLoop(
            core=str(place % 2), before_s=0.05 * generator.gauss(1, 0.01), after_s=0.05 * generator.gauss(1, 0.01)
        )
        for place, node in enumerate(cell.nodes)
    }


def _beside(generator: random.Random, cell: Cell) -> list[Cell]:
    """The methods that need no other node, each a little worse than what is best there."""
    found = []
    best_s = _latency_s(tuple(cell.nodes), (cell.latency_weight, cell.energy_weight), cell.max_noise)
    needed = {"device": 1, "edge": 2, "neurosurgeon": 2, "dads": 2}
    for method, factor in METHODS.items():
        if needed.get(method, 3) > len(cell.nodes):
            continue
        other = Cell(
            id=f"{method}/{cell.id}", method=method, model=cell.model, nodes=cell.nodes, latency_weight=cell.latency_weight,
            energy_weight=cell.energy_weight, max_noise=cell.max_noise, at_unix_s=cell.at_unix_s + 5, visit=cell.visit,
            round=cell.round, latencies_s=[],
            plan=PlanFacts(
                status="given", predicted_s=1.3 * factor, predicted_j=3.0, predicted_noise=0.0,
                operators={"device": 100, "edge": 131} if needed.get(method, 3) == 2 else {cell.nodes[-1]: 231},
                components={cell.nodes[-1]: 1},
            ),
        )  # fmt: skip
        if method == "device":
            other.plan.operators = {"device": 231}
        worse = 1.06 if len(cell.nodes) < 3 else 2.3 if method == "study" else 1.0 + factor
        _fill(generator, other, best_s * worse * generator.gauss(1, 0.005))
        found.append(other)
    return found


def _course(generator: random.Random, strategy: str, factor: float) -> DynamicRun:
    changes = [
        ScriptedChange(at_s=20.0, what="rate device-edge 5 to 1 MB/s"),
        ScriptedChange(at_s=45.0, what="edge dies"),
        ScriptedChange(at_s=70.0, what="edge returns"),
        ScriptedChange(at_s=95.0, what="cloud contended by 2 processes"),
    ]
    stretches = [(0.0, 20.0, 0.40), (20.0, 45.0, 0.55), (45.0, 70.0, 0.80), (70.0, 95.0, 0.55), (95.0, 120.0, 0.62)]
    oracle = [OraclePlan(from_s=start, to_s=end, latency_s=latency) for start, end, latency in stretches]
    requests, at_s = [], 0.0
    while at_s < 119.5:
        best = next(plan.latency_s for plan in oracle if plan.from_s <= at_s < plan.to_s)
        since = min((at_s - change.at_s for change in changes if change.at_s <= at_s), default=99.0)
        late = 1.6 if strategy == "edgesplit" and since < 2 else 1.0
        failed = strategy in {"static:edge", "static:split"} and 45 <= at_s < 70
        failed = failed or (strategy == "pause-resume" and since < 3)
        latency = None if failed else best * factor * late * generator.lognormvariate(0, 0.04)
        requests.append(TracedRequest(at_s=at_s, latency_s=latency, failed=failed, epoch=1))
        at_s += latency or 0.5
    fast = strategy in {"edgesplit", "pause-resume", "oracle"}
    return DynamicRun(
        strategy=strategy,
        model=MODEL,
        at_unix_s=BEGAN_S + 5000,
        changes=changes,
        requests=requests,
        energy=[
            EnergySample(at_s=float(second), joules=1.5 * factor * generator.gauss(1, 0.05))
            for second in range(2, 120, 2)
        ],
        reactions=[
            Reaction(
                change=number,
                noticed_s=0.8,
                switched_s=1.9,
                within_5_percent_s=2.4 + number if fast else None,
                plan_within_5_percent_s=2.0 + number if fast else None,
            )
            for number in range(len(changes))
        ],
        oracle_s=oracle,
        plan_costs=[
            PlanCost(interval=number, epoch=epoch, latency_s=0.2 * (1 + epoch * (factor - 1)), joules=1.5 * factor)
            for number in range(len(changes) + 1)
            for epoch in (0, 1)
        ],
    )
