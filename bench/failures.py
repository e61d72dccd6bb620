"""How long requests stand still when a node dies, hangs or is cut off, and that none fails.

Owns: one failure after another under load, and the table. Its rule: a gap is the longest time without a completed
request around the failure, as it is, beside the longest one before it. Not here: the fleet (`survival.py`).
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.callers import Answer, Callers
from bench.scene import SHIPPED_MODEL
from bench.survival import HARMS, OTHERS, Harm, Survival, survival

__all__ = ["Failure", "longest_gap_s", "main"]

AIMS_S: dict[Harm, float] = {"kill": 0.2, "hang": 1.0, "cut": 1.0}
WORDS: dict[Harm, str] = {"kill": "killed (SIGKILL)", "hang": "hung (SIGSTOP)", "cut": "cut off"}
BEFORE_S, AFTER_S = 3.0, 4.0


@dataclass(frozen=True)
class Failure:
    """One failure.

    Attributes:
        steady_s: Longest time without a completed request before it. [s]
        gap_s: Longest one from then on. [s]
        back_s: From the node's return until its plan serves again. [s]
    """

    node: str
    how: Harm
    steady_s: float
    gap_s: float
    back_s: float

    @property
    def added_s(self) -> float:
        """What the failure cost beyond the steady gap. [s]"""
        return max(self.gap_s - self.steady_s, 0.0)


def longest_gap_s(answers: Sequence[Answer], begin_s: float, end_s: float) -> float:
    """Longest time within a span in which no request was completed; the span's ends count as completions. [s]"""
    times = sorted(answer.done_s for answer in answers if not answer.failed and begin_s < answer.done_s < end_s)
    edges = [begin_s, *times, end_s]
    return max(after - before for before, after in itertools.pairwise(edges))


def fail(scene: Survival, callers: Callers, how: Harm) -> Failure:
    """Harm a node that the serving plan uses, wait, heal it, and wait until a plan uses others again."""
    scene.await_split()
    time.sleep(BEFORE_S)
    nodes: list[str] = []

    def on_their_way() -> bool:
        """Whether requests run on the active plan, and not on a fallback or the one before."""
        plan = scene.plan()
        nodes[:] = [name for name in OTHERS if plan["per_node"].get(name, {}).get("operators")]
        return bool(nodes) and callers.answers()[-1].epoch == plan["epoch"]

    scene.until(on_their_way, "requests run on a plan with other nodes")
    node, at_s = nodes[0], time.monotonic()
    scene.harm(node, how)
    time.sleep(AFTER_S)
    answers = callers.answers()
    # The last completion before the failure is where the gap begins.
    last_s = max(answer.done_s for answer in answers if answer.done_s <= at_s)
    steady_s = longest_gap_s(answers, at_s - BEFORE_S, at_s)
    gap_s = longest_gap_s(answers, last_s, at_s + AFTER_S - 0.5)
    healed_s = time.monotonic()
    scene.heal(node)
    scene.await_split()
    return Failure(node, how, steady_s, gap_s, time.monotonic() - healed_s)


def show(failures: Sequence[Failure], answers: Sequence[Answer], *, real: bool) -> bool:
    """Print the table; whether every aim is met."""
    table = Table(
        "failure", "node", "steady gap", "gap", "added", "aim", "back after", title=_title(answers, real=real)
    )
    met = not any(answer.failed or answer.wrong or answer.again for answer in answers)
    for failure in failures:
        aim_s = AIMS_S[failure.how]
        good = failure.added_s <= aim_s
        met &= good
        added = f"{failure.added_s * 1e3:.0f} ms"
        table.add_row(
            WORDS[failure.how],
            failure.node,
            f"{failure.steady_s * 1e3:.0f} ms",
            f"{failure.gap_s * 1e3:.0f} ms",
            added if good else f"[red]{added}[/red]",
            f"{aim_s * 1e3:.0f} ms",
            f"{failure.back_s:.1f} s",
        )
    Console(width=110).print(table)
    for answer in [answer for answer in answers if answer.failed][:5]:
        print(answer.error, file=sys.stderr)
    return met


def _title(answers: Sequence[Answer], *, real: bool) -> str:
    failed, wrong = sum(answer.failed for answer in answers), sum(answer.wrong for answer in answers)
    cuts = "packets vanish" if real else "frames vanish by emulation"
    return f"{len(answers)} requests: {failed} failed, {wrong} wrong, {sum(a.again for a in answers)} twice; {cuts}"


@click.command()
@click.option("--rounds", default=2, show_default=True, help="Failures of each kind.")
@click.option("--emulated", is_flag=True, help="Cut links by emulation also where namespaces could be made.")
def main(rounds: int, emulated: bool) -> None:
    """Kill, hang and cut off nodes under load from eight callers.

    Example: python -m bench.failures --rounds 2
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        folder = Path(name)
        with (
            survival(SHIPPED_MODEL, folder, real=False if emulated else None) as scene,
            scene.callers() as callers,
        ):
            failures = [fail(scene, callers, how) for _ in range(rounds) for how in HARMS]
            answers = callers.stop()
        met = show(failures, answers, real=scene.real)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
