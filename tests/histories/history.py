"""One history of a fleet: powered up, commanded, asked, disturbed, healed, and judged; all of it follows from a seed.

Owns: the course of a history and its outcome. Its rule: the same seed, the same history, to the last message. Not here: the world
(`world.py`), faults (`faults.py`), what must hold (`convergence.py`), many of them (`__main__.py`).
"""

from __future__ import annotations

import gc
import random
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from tests.histories.convergence import hammering, unconverged, wrong_answers
from tests.histories.faults import draw_fault, heal, power_up
from tests.histories.simulation.virtual_loop import running_program
from tests.histories.transitions import CountedMachine
from tests.histories.world import World

__all__ = ["Course", "Outcome", "run_history"]

Course = Literal["faults", "power"]
"""`faults`: anything goes wrong at any time; `power`: all of a fleet that served loses power, and comes back in any order."""

HEALED_WITHIN_S = 300.0
LAST_REQUESTS_S = 22.0
UP_WITHIN_S = 40.0
AGAIN_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What came of a history.

    Attributes:
        wrong: What is not as it must be; empty: all is well.
        digest: Of all that was said over the broker, and when.
        healed_s: From the end of all faults until all agreed. [s]
        requests: That were answered.
        failed: Of them, with an error.
        deployed: Models that serve in the end.
    """

    seed: int
    course: Course
    wrong: tuple[str, ...]
    digest: str
    healed_s: float
    virtual_s: float
    messages: int
    steps: int
    requests: int
    failed: int
    deployed: int


def run_history(
    seed: int,
    course: Course = "faults",
    make_machine: Callable[[str], AgentMachine] = CountedMachine,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one history.

    Args:
        seed: All that is left to chance follows from it.
        course: What kind of history.
        make_machine: Makes agents' state machines.
        tell: Takes one line for each fault, and each message that the broker takes.
    """
    swallowed: list[str] = []
    with _quiet(swallowed), _own_chance(seed):
        world = World(seed, make_machine, tell)
        _begin(world)
        if course == "power":
            _lose_power(world)
        else:
            _disturb(world)
        world.at(0.0, heal, world)
        began_s = world.now_s
        wrong = _until_healed(world)
        healed_s = world.now_s - began_s
        if not wrong:
            wrong = _last_requests(world)
        found = [*([wrong] if wrong else []), *world.violations, *world.loop.defects, *swallowed]
        found += [*wrong_answers(world), *hammering(world)]
        answers = [answer for request in world.requests for _, answer in request.answers]
        outcome = Outcome(
            seed=seed,
            course=course,
            wrong=tuple(found),
            digest=world.digest,
            healed_s=healed_s,
            virtual_s=world.now_s,
            messages=world.messages,
            steps=world.loop.steps,
            requests=len(answers),
            failed=sum(isinstance(answer, Exception) for answer in answers),
            deployed=0 if world.controller is None else len(world.controller.rollouts.state.deployments),
        )
        world.close()
    return outcome


def _begin(world: World) -> None:
    """Switch everything on, and deploy."""
    chance = world.chance
    world.at(0.0, power_up, world)
    for model in world.models:
        source = chance.choice(sorted(world.nodes))
        world.at(chance.uniform(0.5, 8.0), world.deploy, model, source)
        world.at(chance.uniform(10.0, 14.0), _deploy_again, world, model, source)


def _deploy_again(world: World, model: str, source: str) -> None:
    """Repeat a command that came before its source was known."""
    controller = world.controller
    if controller is not None and model not in controller.rollouts.state.deployments:
        world.deploy(model, source)


def _until_serving(world: World) -> None:
    """Let the fleet come up."""
    while world.now_s < UP_WITHIN_S and not all(
        known is not None and known.current is not None for known in (world.source_of(model) for model in world.models)
    ):
        world.run(1.0)


def _disturb(world: World) -> None:
    """Have things go wrong, in bursts and one by one, while clients ask."""
    chance = world.chance
    if chance.random() < 0.8:
        _until_serving(world)
    length_s = chance.uniform(8.0, 45.0)
    for _ in range(chance.randint(1, 14)):
        at_s = chance.random() * length_s
        world.at(at_s, draw_fault, world)
        if chance.random() < 0.3:
            world.at(at_s + chance.random() * 0.5, draw_fault, world)
    _ask_within(world, length_s)
    world.run(length_s)


def _lose_power(world: World) -> None:
    """Let the fleet serve, take its power away, give it back in any order, and have some of it fail on the way."""
    chance = world.chance
    _until_serving(world)

    def dark() -> None:
        world.broker.save()
        world.broker.stop()
        world.control.crash(power=True)
        for node in world.nodes.values():
            node.crash(power=True)

    for at_s in (0.0, *([chance.uniform(2.0, 20.0)] if chance.random() < 0.5 else [])):
        world.at(at_s, dark)
        world.at(at_s + chance.uniform(0.01, 2.0), power_up, world)
    for _ in range(chance.randint(0, 4)):
        world.at(chance.uniform(0.0, 25.0), draw_fault, world)
    _ask_within(world, 30.0)
    world.run(30.0)


def _ask_within(world: World, length_s: float) -> None:
    chance = world.chance
    for _ in range(int(length_s * chance.choice((0.3, 1.0)))):
        at_s = chance.random() * length_s
        model, node = chance.choice(sorted(world.models)), chance.choice(sorted(world.nodes))
        for _ in range(chance.choice((1, 1, 1, 6))):
            world.at(at_s, world.ask, model, "" if chance.random() < 0.7 else node)


def _until_healed(world: World) -> str:
    """Wait until all agree; what is still wrong in the end."""
    deployed_s = world.now_s + 15.0
    until_s = world.now_s + HEALED_WITHIN_S
    wrong = ""
    while world.now_s < until_s:
        world.run(1.0)
        controller = world.controller
        if deployed_s <= world.now_s and controller is not None:
            deployed_s = float("inf")
            for model in world.models:
                if model not in controller.rollouts.state.deployments:
                    world.at(0.0, world.deploy, model, world.chance.choice(sorted(world.nodes)))
            world.run(1.0)
        wrong = unconverged(world)
        if not wrong and deployed_s == float("inf"):
            return ""
    return f"not healed within {HEALED_WITHIN_S:g} s: {wrong}"


def _last_requests(world: World) -> str:
    """In the end every node answers for every model that serves, and all agree once more where a better plan came meanwhile."""
    controller = world.controller
    assert controller is not None
    first = len(world.requests)
    for model in sorted(controller.rollouts.state.deployments):
        for node in world.nodes:
            world.at(0.0, world.ask, model, node)
    world.run(LAST_REQUESTS_S)
    for request in world.requests[first:]:
        if not request.answers or isinstance(request.answers[0][1], Exception):
            return f"in the end {request.node} does not answer for {request.model}: {request.answers}"
    until_s = world.now_s + AGAIN_S
    while (wrong := unconverged(world)) and world.now_s < until_s:
        world.run(1.0)
    return f"what was healed did not stay so: {wrong}" if wrong else ""


@contextmanager
def _own_chance(seed: int) -> Iterator[None]:
    """Draws of the product follow from the seed, and memory is not collected at moments of its own."""
    before, collects = random.getstate(), gc.isenabled()
    random.seed(seed)
    gc.disable()
    try:
        yield
    finally:
        random.setstate(before)
        if collects:
            gc.enable()


@contextmanager
def _quiet(swallowed: list[str]) -> Iterator[None]:
    """Log nothing, but keep what a program that was alive raised and only logged: a defect that it survives."""

    def keep(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        program = running_program()
        if entry.get("exc_info") and program is not None and program.alive:
            swallowed.append(f"{program.name} logged {entry.get('event')}: {traceback.format_exc(limit=-3)}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40), processors=[keep])
    try:
        yield
    finally:
        structlog.configure(**before)
