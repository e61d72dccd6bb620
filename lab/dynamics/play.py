"""One strategy played: the script's changes at their times while requests flow and a listener hears what is said.

Owns: the stage of one play, from its plan to what was observed. Its rule: changes come at their time whatever a
deployment takes, for those are asked for in a thread of their own; processes begun here end here. Not here: which act
comes when (`strategies.py`), what came of it (`reaction.py`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.fleet import CommandFailed
from lab.dynamics.conditions import Conditions, Wanted
from lab.dynamics.hands import Hands
from lab.dynamics.outcome.energy import energy_samples
from lab.dynamics.outcome.observations import PlayedRun, heard_and_counted, traced
from lab.dynamics.running_plans import noted_plans
from lab.dynamics.strategies import Act
from lab.testbed.testbed import Testbed, beside

__all__ = ["Stage", "play"]

REPOSITORY = Path(__file__).resolve().parents[2]
WARM_UP_S = 4.0
"""Requests flow so long before the script begins. [s]"""
ENDS_S = 40.0
"""A caller ends within a request's deadline. [s]"""
ACCEPTED_S, AGAIN_S = 20.0, 0.3
"""How long what is asked for at a change is asked again: a node that returns takes seconds until it can hold a plan. [s]"""


@dataclass(frozen=True)
class Stage:
    """Where strategies are played: the same for all.

    Attributes:
        model: It is added, and profiled by all nodes.
        request: One array per input (.npz).
        source: Where requests arise.
        requests_per_s: None: one after another. [1/s]
        base: How the testbed was found.
        conditions: Of each interval.
        plans: The files of the oracle's plans, one for each interval.
        lasts_s: The script's length. [s]
        say: Told what happens.
    """

    testbed: Testbed
    model: str
    request: Path
    source: str
    requests_per_s: float | None
    base: Conditions
    conditions: Sequence[Conditions]
    plans: Sequence[Path]
    lasts_s: float
    say: Callable[[str], None]

    def deploy(self, plan: Path | None) -> None:
        """Serve a fixed plan, or have the controller plan."""
        given = () if plan is None else ("--plan", str(plan))
        self.testbed.fleet.splitctl("deploy", self.model, "--source", self.source, *given)

    def ask_for(self, wanted: Wanted) -> None:
        """Tell the controller the goals; a fixed plan ends with that."""
        bound = "none" if wanted.max_noise is None else f"{wanted.max_noise:.9f}"
        floor = "none" if wanted.min_battery is None else f"{wanted.min_battery:.4f}"
        weights = ("--latency", str(wanted.latency), "--energy", str(wanted.energy))
        rest = ("--max-noise", bound, "--min-battery", floor, "--model", self.model)
        self.testbed.fleet.splitctl("set-weights", *weights, *rest)


@dataclass
class _Running:
    """A play under way."""

    stage: Stage
    hands: Hands
    asking: ThreadPoolExecutor
    asked: list[Future[None]] = field(default_factory=list[Future[None]])
    gaps_s: list[float] = field(default_factory=list[float])

    def do(self, act: Act) -> None:
        """Begin one act; those that are asked of the controller follow each other beside."""
        if act.kind == "change":
            self.hands.become(self.stage.conditions[act.interval])
        elif act.kind == "goals":
            wanted = self.stage.conditions[act.interval].wanted
            self.asked.append(self.asking.submit(_until_accepted, lambda: self.stage.ask_for(wanted)))
        else:
            plan = self.stage.plans[act.interval]
            deploy = self._deploy if act.kind == "deploy" else self._replace
            self.asked.append(self.asking.submit(deploy, plan))

    def _deploy(self, plan: Path) -> None:
        _until_accepted(lambda: self.stage.deploy(plan))

    def _replace(self, plan: Path) -> None:
        began_s = time.monotonic()
        self.stage.testbed.fleet.splitctl("undeploy", self.stage.model)
        self._deploy(plan)
        self.gaps_s.append(time.monotonic() - began_s)

    def answers(self) -> list[str]:
        """Why what was asked for did not come about, where it did not."""
        failed = []
        for future in self.asked:
            try:
                future.result()
            except (CommandFailed, subprocess.TimeoutExpired) as error:
                failed.append(str(error))
        return failed


def play(stage: Stage, strategy: str, acts: Sequence[Act], first_plan: Path | None, folder: Path) -> PlayedRun:
    """Play one strategy from the first conditions to the last, and put everything back.

    Args:
        stage: Its model is deployed or not, its testbed as it was found.
        strategy: Its name.
        acts: Of its schedule.
        first_plan: That it begins with; None: the controller's own.
        folder: For the lines of caller and listener.

    Raises:
        CommandFailed: The first plan cannot be served.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stage.testbed.fleet.await_nodes()  # the play before may have ended with one away
    _until_accepted(lambda: stage.deploy(first_plan))
    if not stage.testbed.await_fallbacks(stage.model):
        stage.say("fallbacks are not prepared yet")
    heard, sent = folder / "heard.jsonl", folder / "requests.jsonl"
    with ExitStack() as stack:
        hands = stack.enter_context(Hands(stage.testbed, stage.base))
        stack.enter_context(_listening(stage, heard))
        plans = stack.enter_context(noted_plans(lambda: stage.testbed.fleet.splitctl("plan", stage.model), heard))
        stack.enter_context(_calling(stage, sent))
        asking = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="asking"))
        running = _Running(stage, hands, asking)
        time.sleep(WARM_UP_S)
        began_unix_s, began_s = time.time(), time.monotonic()
        for act in acts:
            time.sleep(max(began_s + act.at_s - time.monotonic(), 0.0))
            running.do(act)
            stage.say(f"{strategy}: {time.monotonic() - began_s:5.1f} s: {act.kind} {act.interval}")
        time.sleep(max(began_s + stage.lasts_s - time.monotonic(), 0.0))
        lasted_s = time.monotonic() - began_s
        failed = running.answers()
    for sentence in failed:
        stage.say(f"{strategy}: {sentence}")
    requests, failures = traced(_lines(sent), began_unix_s)
    requests = [entry for entry in requests if entry.at_s < stage.lasts_s]
    events, counters = heard_and_counted(_lines(heard), stage.model, began_unix_s)
    return PlayedRun(
        strategy=strategy,
        model=stage.model,
        began_unix_s=began_unix_s,
        lasts_s=lasted_s,
        requests=tuple(requests),
        failures=(*failures, *failed),
        events=tuple(event for event in events if event.at_s < stage.lasts_s),
        energy=tuple(energy_samples(counters, requests, stage.lasts_s)),
        gaps_s=tuple(running.gaps_s),
        plans=tuple(plans),
    )


def _until_accepted(ask: Callable[[], None]) -> None:
    """Ask until it is carried out, within a limit.

    Raises:
        CommandFailed: As it was refused at last.
    """
    deadline_s = time.monotonic() + ACCEPTED_S
    while True:
        try:
            ask()
            return
        except CommandFailed:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(AGAIN_S)


@contextmanager
def _listening(stage: Stage, lines: Path) -> Generator[None]:
    command = ["-m", "lab.dynamics.listener", "--broker", stage.testbed.fleet.broker]
    with _program([*stage.testbed.fleet.places["controller"].command, sys.executable, *command], lines):
        yield


@contextmanager
def _calling(stage: Stage, lines: Path) -> Generator[None]:
    fleet = stage.testbed.fleet
    options = ["--address", fleet.address(stage.source), "--model", stage.model, "--input", str(stage.request)]
    if stage.requests_per_s is not None:
        options += ["--rate", str(stage.requests_per_s)]
    place = fleet.places[beside(stage.source)].command
    with _program([*place, sys.executable, "-m", "lab.dynamics.caller", *options], lines):
        yield


@contextmanager
def _program(command: Sequence[str], lines: Path) -> Generator[None]:
    """A program that ends when its standard input does; its lines go to a file."""
    with lines.open("wb") as out, lines.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=log, cwd=REPOSITORY, start_new_session=True
        )
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)
