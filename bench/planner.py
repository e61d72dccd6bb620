"""Time and check the planner on a folder of problems.

Usage: python -m bench.planner [DIR] [--repeat N] [--only TEXT] [--time-limit S] [--peer S] [--critical-path S]
           [--brute-force N [--from SEED]]

DIR holds split-problem/1 files and, where known, `expected.json` with proven optima; the default is the folder
`shared/problems` beside the checkout. One more problem is made of two of them: the reference model with codecs, on nodes with as little
memory as those of the problem without. Plans are checked by recomputing their cost from the problem file alone. The
column warm_s is a re-plan from the last plan after the first link's bandwidth fell by 30 %. cpu_s is the planner's processor
time; with --peer, the plain flow model is given to HiGHS for the same five solves, each for S seconds at most, and its processor
time and its ratio to the planner's stand beside (minutes on the large ones). Targets in seconds stand
beside what they are for; they are printed, not enforced, because machines differ. The last line is a made-up problem
of 2,000 operators and 10 nodes under a deadline of 10 s. With --critical-path, every problem is also planned by the end of its best
timeline in S seconds; the gap of the score stands beside the gap of latency alone, for the ranges of the score may be narrow, and beside
the plan's timeline that of the plan of least sum. With --brute-force, every claim of the plans of N random small
problems of every kind and of figures of every size (`tests/planner/extremes.py`) is held against trying everything, from
seed SEED on; with `--only none` nothing else is done.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

import edgesplit_controller.planner.solving.weighted_score
from bench.flow_peer import solve_by_highs
from edgesplit.planning.plan import Solution
from edgesplit.planning.problem import Problem
from edgesplit.planning.problem_file import load_problem, problem_to_json
from edgesplit_controller.planner import evaluate, score, solve

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]

DEADLINE_S = 10.0
"""Of the large problem. [s]"""

CODED, TIGHT = "yolo11x-seg-device-edge-cloud-codecs-noise0.05", "yolo11x-seg-device-edge-cloud-memory"
"""Of these a problem is made that has the codecs of one and the memory of the other."""

ROW = "{:<48} {:<11}{:>10}{:>10}{:>10}{:>9}{:>8}{:>8}{:>9}{:>8}{:>9}{:>7}"
HEADER = (
    *("problem", "status", "score", "expected", "differs", "total_s", "target", "cpu_s", "warm_s", "target"),
    *("highs_s", "ratio"),
)


def target_s(problem: Problem) -> float:
    """What planning from scratch should take at most on two cores. [s]"""
    operators, nodes = len(problem.operators), len(problem.nodes)
    if operators <= 100:
        return 0.2
    if operators > 1000 or nodes > 4:
        return 4.0
    room = [float("inf") if node.memory_bytes is None else node.memory_bytes for node in problem.nodes]
    if max(room) < sum(operator.weight_bytes for operator in problem.operators):
        return 5.0 if any(tensor.codecs for tensor in problem.tensors) else 2.0
    return 1.0


def warm_target_s(problem: Problem) -> str:
    """What planning again should take at most, where there is a target. [s]"""
    plain = not any(tensor.codecs for tensor in problem.tensors)
    return "0.3" if plain and len(problem.operators) == 654 and len(problem.nodes) == 3 else ""


def measure(path: Path, repeat: int, time_limit_s: float) -> tuple[Solution, list[float], list[float]]:
    """Solve one file several times; the last solution, and every total with reading and its processor time. [s]"""
    totals: list[float] = []
    processor: list[float] = []
    for _ in range(repeat):
        start, begun = time.perf_counter(), time.process_time()
        problem = load_problem(path)
        solution = solve(problem, time_limit_s=time_limit_s)
        totals.append(time.perf_counter() - start)
        processor.append(time.process_time() - begun)
    if solution.assignment is not None:
        checked = evaluate(problem, solution.assignment)
        if checked.violations or abs(score(problem, checked, solution.ranges) - (solution.score or 0.0)) > 1e-9:
            raise SystemExit(f"{path.name}: the plan does not check: {checked.violations}")
    return solution, totals, processor


def replan_s(path: Path, solution: Solution, repeat: int, time_limit_s: float) -> float:
    """Median time to plan again after one link got slower, from the plan that ran. [s]"""
    problem = load_problem(path)
    if not problem.links:
        return 0.0
    slower = msgspec.structs.replace(
        problem.links[0], bandwidth_bytes_per_s=0.7 * problem.links[0].bandwidth_bytes_per_s
    )
    changed = msgspec.structs.replace(problem, links=(slower, *problem.links[1:]))
    totals: list[float] = []
    for _ in range(repeat):
        start = time.perf_counter()
        solve(changed, hint=solution.assignment, time_limit_s=time_limit_s)
        totals.append(time.perf_counter() - start)
    return statistics.median(totals)


def brute_force(count: int, first: int) -> int:
    """Compare with trying everything; the number of problems of which something said is not so."""
    sys.path.insert(0, str(ROOT))
    from tests.planner.brute_force import random_problem  # noqa: PLC0415, only the checkout has them
    from tests.planner.claims import wrong_claims  # noqa: PLC0415
    from tests.planner.extremes import extreme_problem  # noqa: PLC0415

    wrong = 0
    start = time.perf_counter()
    for seed in range(first, first + count):
        if seed % 5 == 4:
            timed = seed % 20 == 19
            size = 3 if timed else 2 + seed % 4
            problem = random_problem(seed, operators=size, model="critical-path" if timed else "sum")
        else:
            problem = extreme_problem(seed)
        try:
            claims = wrong_claims(problem, solve(problem))
        except Exception as error:
            claims = [f"{type(error).__name__}: {error}"]
        if claims:
            print(f"seed {seed}: {'; '.join(claims)}", flush=True)
            wrong += 1
    print(f"brute force: {count} problems from seed {first}, {wrong} differ, {time.perf_counter() - start:.0f} s")
    return wrong


def row(path: Path, known: dict[str, object], repeat: int, time_limit_s: float, peer_s: float) -> bool:
    """Measure one file and print its line; whether it is as expected."""
    problem = load_problem(path)
    solution, totals, processor = measure(path, repeat, time_limit_s)
    expected = known.get("score") or 0.0
    difference = abs((solution.score or 0.0) - (expected if isinstance(expected, float | int) else 0.0))
    warm_s = replan_s(path, solution, repeat, time_limit_s)
    peer = solve_by_highs(problem, peer_s) if peer_s > 0 else None
    cpu_s = statistics.median(processor)
    print(
        ROW.format(
            path.name.split(".json")[0],
            solution.status,
            f"{solution.score or 0.0:.6f}",
            f"{expected:.6f}" if known else "",
            f"{difference:.1e}" if known else "",
            f"{statistics.median(totals):.3f}",
            target_s(problem),
            f"{cpu_s:.3f}",
            f"{warm_s:.3f}",
            warm_target_s(problem),
            "" if peer is None else f"{peer.processor_s:.2f}" if peer.score is not None else f">{peer.processor_s:.2f}",
            "" if peer is None else f"{cpu_s / peer.processor_s:.3f}",
        )
        + (f"  {solution.reason}" if solution.reason else ""),
        flush=True,
    )
    return not known or (solution.status == known["status"] and difference <= 1e-4)


def coded_and_tight(folder: Path, into: Path) -> list[Path]:
    """The problem made of two, as a file; none where these are not there."""
    files = [folder / f"{name}.json.gz" for name in (CODED, TIGHT)]
    if not all(path.exists() for path in files):
        return []
    coded, tight = (load_problem(path) for path in files)
    memory = {node.name: node.memory_bytes for node in tight.nodes}
    nodes = tuple(msgspec.structs.replace(node, memory_bytes=memory[node.name]) for node in coded.nodes)
    path = into / "yolo11x-seg-device-edge-cloud-codecs-memory.json"
    path.write_bytes(problem_to_json(msgspec.structs.replace(coded, nodes=nodes)))
    return [path]


TIMED_ROW = "{:<48} {:<11}{:>10}{:>10}{:>12}{:>12}{:>12}{:>9}{:>8}"
TIMED_HEADER = (
    "under critical-path",
    "status",
    "score",
    "gap",
    "least lat_s",
    "its gap",
    "timeline_s",
    "of sum",
    "cpu_s",
)


def timed_row(path: Path, time_limit_s: float) -> None:
    """Plan one file by the end of its timeline, for its own weights and for latency alone, and print its line."""
    problem = load_problem(path)
    objective = msgspec.structs.replace(problem.objective, latency_model="critical-path")
    timed = msgspec.structs.replace(problem, objective=objective)
    begun = time.process_time()
    solution = solve(timed, time_limit_s=time_limit_s)
    cpu_s = time.process_time() - begun
    if solution.evaluation is None:
        print(TIMED_ROW.format(path.name.split(".json")[0], solution.status, *[""] * 6, f"{cpu_s:.2f}"), flush=True)
        return
    alone = msgspec.structs.replace(objective, latency_weight=1.0, energy_weight=0.0)
    quickest = solve(msgspec.structs.replace(problem, objective=alone), time_limit_s=time_limit_s)
    summed = solve(problem, time_limit_s=time_limit_s)
    print(
        TIMED_ROW.format(
            path.name.split(".json")[0],
            solution.status,
            f"{solution.score or 0.0:.6f}",
            f"{solution.gap or 0.0:.6f}",
            f"{quickest.evaluation.latency_s if quickest.evaluation else 0.0:.6f}",
            f"{quickest.gap or 0.0:.2%}",
            f"{solution.evaluation.timeline_s:.6f}",
            f"{summed.evaluation.timeline_s if summed.evaluation else 0.0:.4f}",
            f"{cpu_s:.2f}",
        ),
        flush=True,
    )


def large_row() -> bool:
    """Plan the large problem under its deadline and print its line; whether a valid plan came back in time."""
    sys.path.insert(0, str(ROOT))
    from bench.large_problem import large_problem  # noqa: PLC0415, found when run as a script, too

    problem = large_problem()
    start = time.perf_counter()
    solution = solve(problem, time_limit_s=DEADLINE_S)
    total_s = time.perf_counter() - start
    most_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{problem.model}: {solution.status}, score {solution.score:.6f}, gap {solution.gap:.2e}, "
        f"{total_s:.2f} s of {DEADLINE_S:g} s, {most_gb:.2f} GB of 2 GB"
    )
    valid = solution.evaluation is not None and not solution.evaluation.violations
    return valid and total_s <= DEADLINE_S and most_gb < 2.0


def main() -> int:
    """Print the table; exit 1 when a score is off by more than 1e-4 or a status differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT.parent / "shared" / "problems"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--peer", type=float, default=0.0)
    parser.add_argument("--critical-path", type=float, default=0.0)
    parser.add_argument("--brute-force", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=0)
    options = parser.parse_args()
    expected_file = options.folder / "expected.json"
    expected = json.loads(expected_file.read_text()) if expected_file.exists() else {}
    print(ROW.format(*HEADER))
    right = True
    with tempfile.TemporaryDirectory() as made:
        for path in [*sorted(options.folder.glob("*.json*")), *coded_and_tight(options.folder, Path(made))]:
            name = path.name.split(".json")[0]
            if path != expected_file and options.only in name:
                right &= row(path, expected.get(name, {}), options.repeat, options.time_limit, options.peer)
    print(
        f"medians of {options.repeat}; {edgesplit_controller.planner.solving.weighted_score.__name__} imported beforehand"
    )
    if options.critical_path > 0:
        print(TIMED_ROW.format(*TIMED_HEADER))
        for path in sorted(options.folder.glob("*.json*")):
            if path != expected_file and options.only in path.name:
                timed_row(path, options.critical_path)
    if not options.only:
        right &= large_row()
    if options.brute_force > 0:
        right &= brute_force(options.brute_force, options.first) == 0
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
