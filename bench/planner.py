"""Time and check the planner on a folder of problems.

Usage: python bench/planner.py [DIR] [--repeat N] [--only TEXT] [--time-limit S]

DIR holds split-problem/1 files and, where known, `expected.json` with proven optima; the default is the folder
`shared/problems` beside the checkout. Plans are checked by recomputing their cost from the problem file alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

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


def main() -> int:
    """Print the table; exit 1 when a score is off by more than 1e-4 or a status differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parents[2] / "shared" / "problems"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--time-limit", type=float, default=60.0)
    options = parser.parse_args()
    expected_file = options.folder / "expected.json"
    expected = json.loads(expected_file.read_text()) if expected_file.exists() else {}
    print(f"{'problem':<48} {'status':<11}{'score':>10}{'expected':>10}{'differs':>10}{'total_s':>9}{'solve_s':>9}")
    failed = False
    for path in sorted(options.folder.glob("*.json*")):
        name = path.name.removesuffix(".gz").removesuffix(".json")
        if path == expected_file or options.only not in name:
            continue
        solution, totals = measure(path, options.repeat, options.time_limit)
        known = expected.get(name, {})
        difference = abs((solution.score or 0.0) - (known.get("score") or 0.0)) if known else float("nan")
        failed |= bool(known) and (solution.status != known["status"] or difference > 1e-4)
        print(
            f"{name:<48} {solution.status:<11}{solution.score or 0.0:>10.6f}{known.get('score') or 0.0:>10.6f}"
            f"{difference:>10.1e}{statistics.median(totals):>9.3f}{solution.timings.solve_s:>9.3f}"
            f"{'  ' + solution.reason if solution.reason else ''}",
            flush=True,
        )
    print(f"medians of {options.repeat}; {edgesplit_controller.planner.planning.__name__} imported beforehand")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
