"""A simulated fleet: broker, network, a controller's machine, nodes, and the clients that ask them.

Owns: all parts of one history, the commands and requests that go to them, and what is known of each: what a command was answered, and
how often a request was. Its rule: it notes and judges nothing. Not here: faults (`faults.py`), what must come of it (`convergence.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import msgspec

from edgesplit.control.plan_messages import DESIRED, Desired, EpochSpec
from edgesplit.errors import EdgesplitError
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.epochs import ModelEpochs
from edgesplit_agent.serving.machine.events import Answer
from tests.histories.simulation.simulated_agent import SimulatedNode
from tests.histories.simulation.simulated_broker import SimulatedBroker
from tests.histories.simulation.simulated_controller import ControllerMachine, SimulatedController
from tests.histories.simulation.simulated_plane import SimulatedNetwork
from tests.histories.simulation.trivial_model import TrivialModel, question
from tests.histories.simulation.virtual_loop import SimulatedProgram, VirtualLoop

__all__ = ["AskedRequest", "World"]

DESIRED_PREFIX, DESIRED_PART = "edgesplit/1/nodes/", "/desired/"
DEADLINE_S = 15.0
FEW = 6
"""Requests under way, of which every one is answered in time."""


@dataclass
class AskedRequest:
    """A client's request.

    Attributes:
        number: What it asks, and so what its answer is.
        program: The agent that took it.
        sure: Nothing but its end keeps that agent from answering: it is the model's source, and can compute all of it by itself,
            both when it was asked and when it answered, and no other agent of its name confused its peers.
        answers: Its answers, and when they came. [s]
    """

    number: int
    model: str
    node: str
    at_s: float
    deadline_s: float
    program: SimulatedProgram
    sure: bool
    answers: list[tuple[float, Answer]] = field(default_factory=list[tuple[float, Answer]])


class World:
    """One fleet.

    Args:
        seed: All that is left to chance follows from it.
        make_machine: Makes agents' state machines.
        tell: Takes one line for each fault, and each message that the broker takes.

    Attributes:
        expected: Model to whether it must be deployed, by the last command that was answered; None where that is open.
        violations: What must never happen, and did.
        healed: Whether nothing goes wrong any more.
    """

    def __init__(
        self,
        seed: int,
        make_machine: Callable[[str], AgentMachine] = AgentMachine,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.chance = chance = Random(seed)
        self._tell = tell
        self.loop = loop = VirtualLoop(chance)  # type: ignore[abstract]  # it has what asyncio's own parts ask for
        self.broker = SimulatedBroker(loop, chance)
        self.network = SimulatedNetwork(loop, chance)
        self.models = {name: TrivialModel(name) for name in ("first", "second")[: chance.choice((1, 1, 2))]}
        self.control = ControllerMachine(loop=loop, chance=chance, broker=self.broker, models=self.models)
        names = ("alder", "birch", "cedar", "date")[: chance.choice((2, 3, 3, 4))]
        self.nodes = {name: self._node(name) for name in names}
        for node in self.nodes.values():
            node.make_machine = make_machine
        self.rivals: list[SimulatedNode] = []
        self.requests: list[AskedRequest] = []
        self.expected: dict[str, bool | None] = dict.fromkeys(self.models, False)
        self.violations: list[str] = []
        self.healed = False
        self.answered_commands = 0
        self._last_commands: dict[str, int] = {}
        self._works: dict[tuple[str, int, str], EpochSpec] = {}
        self._decoder = msgspec.json.Decoder(Desired)
        self._trace = hashlib.blake2b(digest_size=12)
        self.messages = 0
        self.broker.heard.append(self._heard)

    def _node(self, name: str) -> SimulatedNode:
        return SimulatedNode(
            name,
            loop=self.loop,
            chance=self.chance,
            broker=self.broker,
            network=self.network,
            artifacts=self.control.gives,
        )

    def new_rival(self, name: str) -> SimulatedNode:
        """Another machine, whose agent has a node's name."""
        rival = self._node(name)
        rival.port += 100 * (len(self.rivals) + 1)
        rival.make_machine = self.nodes[name].make_machine
        self.rivals.append(rival)
        return rival

    @property
    def now_s(self) -> float:
        """The simulation's time. [s]"""
        return self.loop.time()

    @property
    def digest(self) -> str:
        """Of all that was said over the broker, and when."""
        return self._trace.hexdigest()

    @property
    def controller(self) -> SimulatedController | None:
        """The one that runs."""
        return self.control.running

    def at(self, delay_s: float, function: Callable[..., object], *arguments: object) -> None:
        """Do something later, as nobody's program. [s]"""
        self.loop.call_later(delay_s, function, *arguments, context=self.loop.world.context)

    def _heard(self, topic: str, payload: bytes, _retain: bool) -> None:
        self.messages += 1
        self._trace.update(f"{self.now_s:.6f} {topic} ".encode() + payload)
        if self._tell is not None:
            self.note(f"{topic.removeprefix('edgesplit/1/')} {payload.decode(errors='replace')}")
        if payload and DESIRED_PART in topic:
            self._check_numbers(topic, payload)

    def _check_numbers(self, topic: str, payload: bytes) -> None:
        """A number of a plan means one plan, for ever."""
        node, model = DESIRED.names(topic)
        for spec in self._decoder.decode(payload).epochs:
            known = self._works.setdefault((model, spec.epoch, node), spec)
            if known != spec:
                self.violations.append(f"epoch {spec.epoch} of {model} means two plans on {node}")

    def note(self, line: str) -> None:
        """Tell what happens now, where somebody listens."""
        if self._tell is not None:
            self._tell(f"{self.now_s:10.4f} {line}")

    # --- commands --------------------------------------------------------------------------------------------------

    def deploy(self, model: str, source: str) -> None:
        """`splitctl deploy`."""
        self._command(model, True, lambda controller: controller.deployer.deploy(model, source, 20.0))

    def undeploy(self, model: str) -> None:
        """`splitctl undeploy`."""
        self._command(model, False, lambda controller: controller.deployer.undeploy(model))

    def remove_node(self, name: str) -> None:
        """`splitctl node remove`."""
        controller = self.controller
        if controller is not None:
            controller.program.run(lambda: self._spawn(controller.removal.remove(name)))

    def _command(self, model: str, deployed: bool, work: Callable[[SimulatedController], Awaitable[object]]) -> None:
        controller = self.controller
        if controller is None:
            return
        self.expected[model] = None
        self._last_commands[model] = number = self._last_commands.get(model, 0) + 1

        async def perform() -> None:
            try:
                await work(controller)
            except EdgesplitError:
                return
            if controller.program.alive:
                self.answered_commands += 1
                # Of commands that are under way together nobody can tell which holds in the end.
                self.expected[model] = deployed if number == self._last_commands[model] else None

        controller.program.run(lambda: self._spawn(perform()))

    def _spawn(self, work: Awaitable[object]) -> None:
        async def quiet() -> None:
            try:
                await work
            except EdgesplitError:
                return

        self.loop.create_task(quiet())

    # --- requests --------------------------------------------------------------------------------------------------

    def ask(self, model: str, node: str = "") -> AskedRequest | None:
        """A client asks a node, the model's source without one; None where no agent is there to be asked."""
        source = self.source_of(model)
        node = node or (next(iter(self.nodes)) if source is None else source.node)
        agent = self.nodes[node].running
        if agent is None or agent.ending:
            return None

        def sure() -> bool:
            known = agent.machine.models.get(model)
            alone = all(rival.name != node for rival in self.rivals)
            able = known is not None and known.is_source and known.fallback is not None
            return able and alone and not agent.ending

        request = AskedRequest(
            number=len(self.requests) + 1,
            model=model,
            node=node,
            at_s=self.now_s,
            deadline_s=DEADLINE_S,
            program=agent.program,
            sure=sure() and len(agent.machine.flow.requests) < FEW,
        )
        self.requests.append(request)
        self.note(f"ASKED {request.number} of {model} at {node}, {'sure' if request.sure else 'not sure'}")

        def answer(found: Answer) -> None:
            request.sure = request.sure and sure()
            self.note(
                f"ANSWERED {request.number} {'with an error' if isinstance(found, Exception) else f'on epoch {found[1]}'}"
            )
            if request.program.alive:
                request.answers.append((self.now_s, found))

        agent.program.run(lambda: agent.engine.ask(model, question(request.number), request.deadline_s, answer))
        return request

    def epochs_of(self, node: str, model: str) -> ModelEpochs | None:
        """What a node's agent holds of a model; None for nothing."""
        agent = self.nodes[node].running
        return None if agent is None else agent.machine.models.get(model)

    def source_of(self, model: str) -> ModelEpochs | None:
        """The epochs of a model at the node that calls itself its source."""
        for node in self.nodes:
            known = self.epochs_of(node, model)
            if known is not None and known.is_source:
                return known
        return None

    def run(self, seconds: float) -> None:
        """Let time pass. [s]"""
        self.loop.run_until(self.now_s + seconds)

    def close(self) -> None:
        """End all programs."""
        for program in self.loop.programs:
            if program is not self.loop.world:
                self.loop.crash(program)
        self.run(0.0)
