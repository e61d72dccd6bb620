"""Rounds of random harm under load: kills, hangs, cuts and returns of nodes, of the controller and of the broker.

Owns: the dice, the rounds and the verdict. Its rule: a seed gives the same rounds again; whatever was done, every
request is answered once and rightly. Not here: the fleet (`survival.py`), how long anything takes (`failures.py`).
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.callers import Answer
from bench.scene import SHIPPED_MODEL
from bench.survival import HARMS, OTHERS, Survival, survival

__all__ = ["Chaos", "endure", "main"]

PAUSE_S = (0.2, 1.2)
CONTROL_SHARE = 0.1
"""Of the rounds: those that harm or heal controller or broker. [1]"""
EAGER = "stable_after_s = 0.3"
"""Nodes that return are relied on soon, so that they are in use when they are harmed again."""


@dataclass
class Chaos:
    """What was done and what came of it.

    Attributes:
        done: How often each thing was done.
        answers: Of all callers.
        back: Whether a plan with other nodes served again at the end.
    """

    done: Counter[str] = field(default_factory=Counter[str])
    answers: Sequence[Answer] = ()
    back: bool = False

    @property
    def lost(self) -> list[Answer]:
        """Requests that ended with an error, or not at all."""
        return [answer for answer in self.answers if answer.failed]

    @property
    def wrong(self) -> int:
        """Answers that are not the whole model's."""
        return sum(answer.wrong for answer in self.answers)

    @property
    def twice(self) -> int:
        """Answers to requests that were answered before."""
        return sum(answer.again for answer in self.answers)

    @property
    def epochs(self) -> int:
        """Different plans that answered."""
        return len({answer.epoch for answer in self.answers if not answer.failed})

    @property
    def survived(self) -> bool:
        """Whether all is as it has to be."""
        return bool(self.answers) and self.back and not self.lost and not self.wrong and not self.twice


class _Round:
    """Does one thing at a time."""

    def __init__(self, scene: Survival, draw: random.Random, done: Counter[str]) -> None:
        self._scene = scene
        self._draw = draw
        self._done = done
        self._control_away = ""

    def next(self) -> str:
        """Harm or heal something at random; what."""
        if self._draw.random() < CONTROL_SHARE:
            return self._count(self._control())
        node = self._draw.choice(OTHERS)
        if node in self._scene.harmed:
            how = self._scene.harmed[node]
            self._scene.heal(node)
            return self._count(f"return after {how}")
        how = self._draw.choice(HARMS)
        self._scene.harm(node, how)
        return self._count(how)

    def heal_all(self) -> None:
        """Undo what is left of it."""
        for node in tuple(self._scene.harmed):
            self._scene.heal(node)
        if self._control_away:
            self._control()

    def _control(self) -> str:
        away, self._control_away = self._control_away, ""
        if away == "controller":
            self._scene.fleet.start_controller()
        elif away == "broker":
            self._scene.broker.start()
        else:
            self._control_away = self._draw.choice(("controller", "broker"))
            if self._control_away == "controller":
                self._scene.fleet.kill("controller")
            else:
                self._scene.broker.kill()
            return f"kill of the {self._control_away}"
        return f"return of the {away}"

    def _count(self, what: str) -> str:
        self._done[what] += 1
        return what


def endure(folder: Path, *, seed: int, rounds: int, real: bool | None = None, callers: int = 8) -> Chaos:
    """Go through the rounds.

    Args:
        folder: For everything.
        seed: Of the dice.
        rounds: Things to do.
        real: As in `survival`.
        callers: At a time.
    """
    draw, found = random.Random(seed), Chaos()
    with survival(SHIPPED_MODEL, folder, real=real, data=EAGER) as scene, scene.callers(callers) as calling:
        steps = _Round(scene, draw, found.done)
        scene.until(lambda: bool(calling.answers()), "the callers are answered")
        for number in range(1, rounds + 1):
            what = steps.next()
            time.sleep(draw.uniform(*PAUSE_S))
            if number % 10 == 0:
                print(f"round {number}: {what}; {len(calling.answers())} requests", file=sys.stderr)
        steps.heal_all()
        try:
            scene.await_split()
            found.back = True
        except TimeoutError as error:
            print(error, file=sys.stderr)
        found.answers = calling.stop()
    return found


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--rounds", default=200, show_default=True)
@click.option("--emulated", is_flag=True, help="Cut links by emulation also where namespaces could be made.")
def main(seed: int, rounds: int, emulated: bool) -> None:
    """Kill, hang, cut off and return nodes, controller and broker at random under load.

    Example: python -m bench.chaos --seed 1 --rounds 200
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        found = endure(Path(name), seed=seed, rounds=rounds, real=False if emulated else None)
    done = ", ".join(f"{count} {what}" for what, count in sorted(found.done.items()))
    print(f"seed {seed}, {rounds} rounds in {time.monotonic() - begin:.0f} s: {done}")
    print(
        f"{len(found.answers)} requests on {found.epochs} plans: {len(found.lost)} lost, {found.twice} duplicated, "
        f"{found.wrong} wrong; {'all nodes in use again' if found.back else 'nodes NOT in use again'}"
    )
    for answer in found.lost[:5]:
        print(answer.error, file=sys.stderr)
    sys.exit(0 if found.survived else 1)


if __name__ == "__main__":
    main()
