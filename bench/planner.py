"""Time and check the planner on a folder of problems.

Usage: python bench/planner.py [DIR] [--repeat N] [--only TEXT] [--time-limit S] [--brute-force N]

DIR holds split-problem/1 files and, where known, `expected.json` with proven optima; the default is the folder
`shared/problems` beside the checkout. Plans are checked by recomputing their cost from the problem file alone. The
column warm_s is a re-plan from the last plan after the first link's bandwidth fell by 30 %. With --brute-force, N
random small problems of every kind are compared with trying everything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import msgspec

import edgesplit_controller.planner.planning
from edgesplit.plan import Solution
from edgesplit.problem import load_problem
from edgesplit_controller.planner import evaluate, score, solve

__all__ = ["main"]


def measure(path: Path, repeat: int, time_limit_s: float) -> tuple[Solution, list[float]]:
    """Solve one file several times; the last solution and every total with reading. [s]"""
    totals: list[float] = []
    for _ in range(repeat):
        start = time.perf_counter()
        problem = load_problem(path)
        solution = solve(problem, time_limit_s=time_limit_s)
        totals.append(time.perf_counter() - start)
    if solution.assignment is not None:
        checked = evaluate(problem, solution.assignment)
        if checked.violations or abs(score(problem, checked, solution.ranges) - (solution.score or 0.0)) > 1e-9:
            raise SystemExit(f"{path.name}: the plan does not check: {checked.violations}")
    return solution, totals


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


def brute_force(count: int) -> int:
    """Compare with trying everything; the number of problems that differ."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.planner.brute_force import best_score, random_problem  # noqa: PLC0415, only the checkout has them

    wrong = 0
    for seed in range(count):
        timed = seed % 4 == 3
        size = 3 if timed else 2 + seed % 4
        problem = random_problem(seed, operators=size, model="critical-path" if timed else "sum")
        expected, solution = best_score(problem), solve(problem)
        right = solution.status == "infeasible" if expected is None else solution.status == "optimal"
        if not right or abs((solution.score or 0.0) - (expected or 0.0)) > 2e-6:
            print(f"seed {seed}: expected {expected}, got {solution.status} {solution.score}")
            wrong += 1
    print(f"brute force: {count} problems, {wrong} differ")
    return wrong


def main() -> int:
    """Print the table; exit 1 when a score is off by more than 1e-4 or a status differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parents[2] / "shared" / "problems"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--brute-force", type=int, default=0)
    options = parser.parse_args()
    expected_file = options.folder / "expected.json"
    expected = json.loads(expected_file.read_text()) if expected_file.exists() else {}
    print(
        f"{'problem':<48} {'status':<11}{'score':>10}{'expected':>10}{'differs':>10}{'total_s':>9}{'solve_s':>9}{'warm_s':>9}"
    )
    failed = False
    for path in sorted(options.folder.glob("*.json*")):
        name = path.name.removesuffix(".gz").removesuffix(".json")
        if path == expected_file or options.only not in name:
            continue
        solution, totals = measure(path, options.repeat, options.time_limit)
        known = expected.get(name, {})
        difference = abs((solution.score or 0.0) - (known.get("score") or 0.0)) if known else float("nan")
        failed |= bool(known) and (solution.status != known["status"] or difference > 1e-4)
        warm_s = replan_s(path, solution, options.repeat, options.time_limit)
        print(
            f"{name:<48} {solution.status:<11}{solution.score or 0.0:>10.6f}{known.get('score') or 0.0:>10.6f}"
            f"{difference:>10.1e}{statistics.median(totals):>9.3f}{solution.timings.solve_s:>9.3f}{warm_s:>9.3f}"
            f"{'  ' + solution.reason if solution.reason else ''}",
            flush=True,
        )
    print(f"medians of {options.repeat}; {edgesplit_controller.planner.planning.__name__} imported beforehand")
    failed |= options.brute_force > 0 and brute_force(options.brute_force) > 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
