"""Many histories: `python -m tests.histories --count 10000 --jobs 2 --seed 0`.

Owns: running them side by side, the summary, and the audit of transitions. Its rule: a failing seed is named with the command that runs
it alone. Not here: a history (`history.py`).
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.histories.history import Course, Outcome, run_history
from tests.histories.transitions import DECLARED, counted, never_taken

BATCH = 50
"""Histories that one process runs in a row."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _batch(course: Course, seeds: range) -> tuple[list[Outcome], Counter[str], float]:
    """Run some histories; with what they counted and the processor's time that they took. [s]"""
    began_s = time.process_time()
    outcomes: list[Outcome] = []
    with counted() as counts:
        for seed in seeds:
            outcomes.append(run_history(seed, course))
            gc.collect()
        return outcomes, Counter(counts), time.process_time() - began_s


def _batches(first: int, count: int) -> Iterator[range]:
    for begin in range(first, first + count, BATCH):
        yield range(begin, min(begin + BATCH, first + count))


def _report(outcomes: list[Outcome], took_s: float, wall_s: float) -> None:
    healed_s = sorted(outcome.healed_s for outcome in outcomes)
    _say(
        f"{len(outcomes)} histories, {sum(bool(outcome.wrong) for outcome in outcomes)} wrong; "
        f"{took_s:.1f} s of processor, {1000 * took_s / len(outcomes):.0f} ms each, {wall_s:.1f} s by the clock"
    )
    _say(
        f"virtual: {sum(outcome.virtual_s for outcome in outcomes) / 3600:.1f} h, "
        f"{sum(outcome.messages for outcome in outcomes)} messages, {sum(outcome.steps for outcome in outcomes)} callbacks, "
        f"{sum(outcome.requests for outcome in outcomes)} requests answered, {sum(outcome.failed for outcome in outcomes)} of them "
        f"with an error"
    )
    _say(
        f"healed within: median {healed_s[len(healed_s) // 2]:.0f} s, 99 % {healed_s[int(0.99 * (len(healed_s) - 1))]:.0f} s, "
        f"longest {healed_s[-1]:.0f} s"
    )


def main() -> int:
    """Run histories; 1 where one went wrong or a transition was never taken."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the first history; the others follow")
    parser.add_argument("--course", choices=("faults", "power"), default="faults")
    parser.add_argument("--show", action="store_true", help="print every transition with its count")
    parser.add_argument("--tell", action="store_true", help="print the messages of the first history instead")
    parser.add_argument("--audit", action="store_true", help="fail where a declared transition was never taken")
    options = parser.parse_args()
    if options.tell:
        _say(str(run_history(options.seed, options.course, tell=_say)))
        return 0
    outcomes: list[Outcome] = []
    counts, took_s, began_s = Counter[str](), 0.0, time.monotonic()
    gc.collect()
    gc.freeze()
    with ProcessPoolExecutor(options.jobs) as pool:
        running = [pool.submit(_batch, options.course, seeds) for seeds in _batches(options.seed, options.count)]
        for done in as_completed(running):
            found, taken, spent_s = done.result()
            outcomes += found
            counts += taken
            took_s += spent_s
            for outcome in found:
                if outcome.wrong:
                    _say(f"seed {outcome.seed}: {outcome.wrong[0]} (and {len(outcome.wrong) - 1} more)")
                    _say(
                        f"  again: python -m tests.histories --course {outcome.course} --count 1 --seed {outcome.seed}"
                    )
    _report(outcomes, took_s, time.monotonic() - began_s)
    if options.show:
        for name, count in sorted(counts.items()):
            _say(f"{count:10d}  {name}" + ("" if name in DECLARED else "  (not declared)"))
    missing = never_taken(counts)
    if missing:
        _say(f"never taken: {'; '.join(missing)}")
    return int(any(outcome.wrong for outcome in outcomes) or (options.audit and bool(missing)))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names are gone through in an order that a process draws: here it is always the same one.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.histories", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
