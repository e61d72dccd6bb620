"""Planning for many sources and models on shared nodes: how long it takes, and whether anything is promised twice.

Owns: the made-up fleet (cameras of a few kinds, shared nodes), and the table. Its rule: loads are added up again from the plans alone. Not
here: the planner (`planner/studies/together.py`), live agents (`tests/integration/test_many_sources.py`).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence

import click

from edgesplit.planning.problem import Constraints, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit_controller.planner.meaning.exact import exact_costs
from edgesplit_controller.planner.studies.together import RateDemand, Together, plan_together

__all__ = ["demands_of", "loads_of", "main"]

MODELS = {"small": (20, 4.0), "middle": (40, 2.0), "large": (80, 1.0)}
"""Name to operators, and requests a second of each source."""
TIME_LIMIT_S = 10.0
KINDS = (0.1, 0.2, 0.4, 0.8)
"""Speeds of cameras beside that of a shared node of speed 1."""


def demands_of(sources: int, models: int, nodes: int, seed: int, utilisation: float) -> list[RateDemand]:
    """Every source asks every model.

    Args:
        sources: How many.
        models: Of `MODELS`, the first ones.
        nodes: Shared ones, of speeds 1, 1.5, 2 ...
        seed: Of work, bytes and links.
        utilisation: Of the shared nodes, where all was computed on them; rates are made for it. [1]
    """
    draw = random.Random(seed)
    shared = {f"node{number}": 1.0 + number / 2 for number in range(nodes)}
    rates = {ends: draw.choice((125e6, 250e6, 1250e6)) for ends in ((a, b) for a in shared for b in shared if a != b)}
    work = {
        name: [draw.lognormvariate(0.0, 1.0) * 1e-3 for _ in range(size)]
        for name, (size, _) in list(MODELS.items())[:models]
    }
    sizes = {
        name: [draw.lognormvariate(0.0, 1.0) * 2e5 * 0.96**at for at in range(len(units) + 1)]
        for name, units in work.items()
    }
    asked = sum(MODELS[name][1] * sum(units) for name, units in work.items()) * sources
    factor = utilisation * sum(shared.values()) / asked
    found: list[RateDemand] = []
    for number in range(sources):
        source, speed = f"cam{number}", KINDS[number % len(KINDS)]
        for name, units in work.items():
            problem = _problem((name, source), {source: speed} | shared, units, sizes[name], rates)
            found.append(RateDemand(f"{name}~{source}", problem, MODELS[name][1] * factor))
    return found


def _problem(
    names: tuple[str, str],
    speeds: Mapping[str, float],
    units: Sequence[float],
    sizes: Sequence[float],
    rates: Mapping[tuple[str, str], float],
) -> Problem:
    """A chain with a branch here and there.

    Args:
        names: Of model and source.
        speeds: Of all nodes. [1]
        units: What each takes on a node of speed 1. [s]
        sizes: Of the tensors. [B]
        rates: Of links between shared nodes; others take 60 MB/s. [B/s]
    """
    model, source = names
    chain = ["input", *(f"unit{number}" for number in range(len(units))), "output"]
    nothing = dict.fromkeys(speeds, 0.0)
    operators = [
        Operator(name="input", time_s=nothing, role="input"),
        *(
            Operator(name=name, time_s={node: work / speed for node, speed in speeds.items()}, weight_bytes=1e5)
            for name, work in zip(chain[1:-1], units, strict=True)
        ),
        Operator(name="output", time_s=nothing, role="output"),
    ]
    tensors = [
        Tensor(
            name=f"tensor{at}",
            bytes=size,
            producer=chain[at],
            consumers=(chain[at + 1], *((chain[at + 3],) if at % 5 == 2 and at + 3 < len(chain) - 1 else ())),
        )
        for at, size in enumerate(sizes)
    ]
    links = [
        Link(source=a, target=b, bandwidth_bytes_per_s=rates.get((a, b), 60e6), latency_s=0.001)
        for a in speeds
        for b in speeds
        if a != b
    ]
    return Problem(
        model=model,
        source=source,
        nodes=tuple(Node(name=node, compute_power_w=5.0, transmit_power_w=2.0) for node in speeds),
        links=tuple(links),
        operators=tuple(operators),
        tensors=tuple(tensors),
        noise_model=None,
        objective=Objective(latency_weight=1.0, energy_weight=0.0),
        constraints=Constraints(max_noise=None, device_energy_limit_j=None, pins=None),
    )


def loads_of(found: Together) -> dict[str | tuple[str, str], float]:
    """What plans take of every node and link direction, added up from the plans alone. [1]"""
    loads: dict[str | tuple[str, str], float] = {}
    for share in found.shares:
        if share.assignment is None:
            continue
        usage = exact_costs(share.demand.problem, share.assignment).usage
        for taken in (usage.compute_s, usage.occupied_s):
            for subject, seconds in taken.items():
                loads[subject] = loads.get(subject, 0.0) + share.demand.rate_hz * float(seconds)
    return loads


@click.command()
@click.option("--sources", default=100, show_default=True)
@click.option("--models", default=3, show_default=True, type=click.IntRange(1, len(MODELS)))
@click.option("--nodes", default=10, show_default=True)
@click.option("--seeds", default=5, show_default=True, help="Fleets, each planned once.")
@click.option(
    "--utilisation",
    default=0.5,
    show_default=True,
    help="What is asked of the shared nodes, where all was computed there.",
)
def main(sources: int, models: int, nodes: int, seeds: int, utilisation: float) -> None:
    """Plan for many sources together, and add up what was promised.

    Example: python -m bench.many_sources --sources 100 --models 3 --nodes 10
    """
    taken: list[float] = []
    print("fleet  seconds  cpu_s  kinds  solves  without a plan  highest load  Jain's index  mean slow-down")
    for seed in range(seeds):
        demands = demands_of(sources, models, nodes, seed, utilisation)
        begin, cpu = time.perf_counter(), time.process_time()
        found = plan_together(demands, time_limit_s=TIME_LIMIT_S)
        taken.append(time.perf_counter() - begin)
        cpu_s = time.process_time() - cpu
        without = [share for share in found.shares if share.assignment is None]
        slow = [share.slow_down for share in found.shares if share.assignment is not None]
        print(
            f"{seed:5d}  {taken[-1]:7.2f}  {cpu_s:5.2f}  {found.kinds:5d}  {found.solves:6d}  {len(without):14d}  "
            f"{max(loads_of(found).values()):12.6f}  {found.fairness:12.3f}  {statistics.fmean(slow) if slow else 1.0:14.3f}"
        )
        for share in without[:1]:
            print(f"       {share.demand.name}: {share.reason}")
    print(f"median {statistics.median(taken):.2f} s (aim: 1 s for 100 sources, 3 models, 10 nodes)")


if __name__ == "__main__":
    main()
