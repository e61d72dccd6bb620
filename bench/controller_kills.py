"""The controller killed (SIGKILL) in each phase of a model's way to serving and of a roll-out, and the broker away, under a steady load.

Owns: the phases, how each is met, and the verdict: every request answered once and rightly, and one plan in the end, which is what every
node holds. Its rule: a kill falls into its phase by what is seen on the broker or in the store, never by a pause alone. Not here:
the fleet (`survival.py`), the callers, seeing a phase (`rollout_watch.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.callers import Answer
from bench.rollout_watch import MOMENTS, Moment, RolloutWatch
from bench.scene import SHIPPED_MODEL
from bench.survival import MODEL, OTHERS, SOURCE, Survival, survival
from demo.fleet import CommandFailed

__all__ = ["PHASES", "Kills", "Phase", "kill_controllers", "main"]

Phase = Moment | str
PHASES: tuple[Phase, ...] = ("uploading", "intake", *MOMENTS)
LATE_S = 0.03
"""A kill falls at random within so long after its phase was seen. [s]"""
REACH_S = 40.0
"""After which a phase counts as not met: the plan did not change, or passed it unseen. [s]"""
SETTLE_S = 120.0
LOOK_S = 0.002
FURTHER = "further"
SLOW_SOURCE = 30.0
"""So slow that no fallback is everything on the source, which is no further plan to write. [1]"""
PATIENT = "dead_after_s = 5.0\ndead_after_limit_s = 15.0"
"""No node is harmed here, and a busy machine must not look like a loss."""


@dataclass
class Kills:
    """What came of one phase.

    Attributes:
        met: Kills that fell into it.
        missed: Rounds in which it was not met.
        settled_s: From the controller's next start until one plan was held by all. [s]
        stuck: Rounds that did not come to that.
    """

    met: int = 0
    missed: int = 0
    settled_s: list[float] = field(default_factory=list[float])
    stuck: int = 0

    def line(self, phase: Phase) -> str:
        """For people."""
        took = (
            f"{statistics.median(self.settled_s):5.1f} {max(self.settled_s):6.1f}" if self.settled_s else "    -      -"
        )
        return f"{phase:12} {self.met:5} {self.missed:7} {self.stuck:6}   {took}"


class _Rounds:
    """Kills the controller again and again."""

    def __init__(self, scene: Survival, watch: RolloutWatch, draw: random.Random) -> None:
        self._scene = scene
        self._watch = watch
        self._draw = draw
        self._commands: list[subprocess.Popen[bytes]] = []
        self._at: frozenset[str] = frozenset()
        operators = [name for part in scene.plan()["components"] for name in part["operators"]]
        for node in OTHERS:
            there = {name: node if place >= len(operators) // 2 else SOURCE for place, name in enumerate(operators)}
            self._plan_file(node).write_text(json.dumps({"assignment": there}), encoding="utf-8")
        scene.fleet.splitctl("deploy", MODEL, "--source", SOURCE, "--plan", str(self._plan_file(OTHERS[0])))
        self._until_one_plan()

    def run(self, phase: Phase, kills: Kills) -> None:
        """One kill in a phase, and what follows."""
        struck = threading.Event()

        def strike() -> None:
            time.sleep(self._draw.uniform(0.0, LATE_S))
            os.kill(self._scene.fleet.pid("controller"), signal.SIGKILL)
            struck.set()

        if phase in MOMENTS:
            self._watch.strike(phase, strike)
            self._command("deploy", MODEL, "--source", SOURCE, "--plan", str(self._other_plan()))
            struck.wait(REACH_S)
            self._watch.forget()
        else:
            self._command("model", "add", FURTHER, str(SHIPPED_MODEL), "--replace")
            self._strike_when(self._in_store(phase), strike)
        if struck.is_set():
            kills.met += 1
            self._scene.fleet.kill("controller")
            begin_s = time.monotonic()
            self._scene.fleet.start_controller()
        else:
            kills.missed += 1
            begin_s = time.monotonic()
        self._end_commands()
        try:
            self._until_one_plan()
        except TimeoutError:
            kills.stuck += 1
        else:
            if struck.is_set():
                kills.settled_s.append(time.monotonic() - begin_s)

    def away(self, seconds: float) -> float:
        """Take the broker away for a while; how long it took until one plan was held by all again. [s]"""
        self._scene.broker.kill()
        time.sleep(seconds)
        begin_s = time.monotonic()
        self._scene.broker.start()
        self._until_one_plan()
        return time.monotonic() - begin_s

    def _plan_file(self, node: str) -> Path:
        """A plan of which one half runs there; given, not found, so that a busy machine changes nothing about it."""
        return self._scene.fleet.folder / f"plan-{node}.json"

    def _other_plan(self) -> Path:
        return self._plan_file(next(node for node in OTHERS if node not in self._at))

    def _command(self, *command: str) -> None:
        """A command that the controller will not live to answer."""
        program = [str(Path(sys.executable).parent / "splitctl"), "--broker", self._scene.broker.url, *command]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EDGESPLIT_")}
        quiet = subprocess.DEVNULL
        self._commands.append(subprocess.Popen(program, stdout=quiet, stderr=quiet, stdin=quiet, env=environment))

    def _end_commands(self) -> None:
        for command in self._commands:
            command.kill()
            command.wait()
        self._commands.clear()

    def _in_store(self, phase: Phase) -> Callable[[], bool]:
        """Whether the store shows that a model is on its way."""
        store = self._scene.fleet.folder / "store"
        if phase == "uploading":
            return lambda: any((store / "uploads").iterdir())
        return (store / "made").exists

    def _strike_when(self, reached: Callable[[], bool], strike: Callable[[], None]) -> None:
        deadline_s = time.monotonic() + REACH_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                if reached():
                    strike()
                    return
            time.sleep(LOOK_S)

    def _until_one_plan(self) -> None:
        """Wait until all nodes hold one plan, and the controller says the same one.

        Raises:
            TimeoutError: It did not come to that.
        """
        deadline_s = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline_s:
            if self._watch.settled():
                serving = self._watch.serving
                with contextlib.suppress(CommandFailed):
                    plan = self._scene.plan()
                    self._at = frozenset(part["node"] for part in plan["components"])
                    if plan["epoch"] == serving and self._watch.settled():
                        return
            time.sleep(0.2)
        raise TimeoutError("nodes and controller do not agree on one plan")


def kill_controllers(
    folder: Path, phases: Sequence[Phase], times: int, *, seed: int, broker_away_s: float
) -> tuple[dict[Phase, Kills], float | None, Sequence[Answer]]:
    """Kill the controller so often in each phase, then take the broker away.

    Args:
        folder: For everything.
        phases: Of `PHASES`.
        times: In each.
        seed: Of the delays.
        broker_away_s: How long the broker is away at the end; 0 for not at all. [s]

    Returns:
        What came of each phase, how long it took until one plan was held after the broker's return, and all answers.
    """
    found: dict[Phase, Kills] = {phase: Kills() for phase in phases}
    back_s: float | None = None
    with (
        survival(SHIPPED_MODEL, folder, real=False, data=PATIENT, slow_down=SLOW_SOURCE) as scene,
        scene.callers(2) as calling,
    ):
        with RolloutWatch(scene.broker.host, scene.broker.port, MODEL, SOURCE) as watch:
            rounds = _Rounds(scene, watch, random.Random(seed))
            scene.until(lambda: bool(calling.answers()), "the callers are answered")
            for number in range(times):
                for phase in phases:
                    rounds.run(phase, found[phase])
                    print(f"round {number + 1}: {found[phase].line(phase)}", file=sys.stderr)
            if broker_away_s > 0.0:
                back_s = rounds.away(broker_away_s)
        answers = calling.stop()
    return found, back_s, answers


@click.command()
@click.option("--times", default=20, show_default=True, help="Kills in each phase.")
@click.option("--phase", "phases", multiple=True, type=click.Choice(PHASES), help="Only these; may be repeated.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--broker-away", "broker_away_s", default=60.0, show_default=True, help="At the end; 0 for not at all. [s]"
)
def main(times: int, phases: tuple[Phase, ...], seed: int, broker_away_s: float) -> None:
    """Kill the controller in each phase of a roll-out under load, then take the broker away.

    Example: python -m bench.controller_kills --times 20
    """
    begin_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        found, back_s, answers = kill_controllers(
            Path(name), phases or PHASES, times, seed=seed, broker_away_s=broker_away_s
        )
    print("phase         kills  missed  stuck   one plan after [s], median and most")
    for phase, kills in found.items():
        print(kills.line(phase))
    if back_s is not None:
        print(f"broker away for {broker_away_s:g} s: one plan {back_s:.1f} s after its return")
    lost = [answer for answer in answers if answer.failed]
    wrong, twice = sum(answer.wrong for answer in answers), sum(answer.again for answer in answers)
    print(
        f"{len(answers)} requests in {time.monotonic() - begin_s:.0f} s: {len(lost)} failed, {wrong} wrong, "
        f"{twice} answered twice"
    )
    for answer in lost[:5]:
        print(answer.error, file=sys.stderr)
    whole = not lost and not twice and not any(kills.stuck for kills in found.values())
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
