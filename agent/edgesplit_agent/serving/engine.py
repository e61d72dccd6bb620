"""The engine: carries out the state machine's actions, and feeds it what came of them.

Owns: the way between machine, data plane, sessions and clients. Its rule: it decides nothing; events are taken one
after another on the event loop, whoever emits them, and a new one that arises while actions are carried out waits its
turn. Not here: MQTT (`control.py`), connections (`dataplane/`), preparing epochs (`serving/preparation.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import structlog

from edgesplit.control.inquiry_messages import StepKind
from edgesplit.errors import EdgesplitError, FrameTooLarge, NodeUnreachable, PeerUnreachable, first_line
from edgesplit.wire.frames import PackedTensor, pack_tensor
from edgesplit.wire.headers import ExecutionKey, TensorHead
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.coding import Coder, CodingTurn
from edgesplit_agent.compute.session_pool import Computed, LoadedComponent
from edgesplit_agent.compute.worker import Ahead, Job, Worker
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.request_traces import RequestTraces
from edgesplit_agent.reporting.run_trace import RunTrace
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.serving.forwarded_requests import ForwardedRequests
from edgesplit_agent.serving.machine.actions import (
    Action,
    ClearObserved,
    CompleteRequest,
    EmitEvent,
    FailRequest,
    ForwardRequest,
    PrepareEpoch,
    PublishNoise,
    PublishObserved,
    ReleaseEpoch,
    RunComponent,
    SendAbort,
    SendCoded,
    SendTensors,
    ShadowRequest,
    WakeAt,
)
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    Answer,
    Awoken,
    ComponentFailed,
    ComponentFinished,
    MachineEvent,
    RequestArrived,
    RequestCancelled,
    SendFailed,
    ShadowDropped,
    TensorsArrived,
    Tick,
)
from edgesplit_agent.serving.ports import Peers, Preparer, Publisher
from edgesplit_agent.serving.preparation import PreparedEpochs
from edgesplit_agent.serving.shadow_runs import ShadowRunner

__all__ = ["Engine"]

BUSY_TICK_S = 0.1
IDLE_TICK_S = 0.5
NOBODYS = ""
"""The share of the worker's time in which tensors of unknown models are restored."""


class Engine:
    """The running agent, without its planes.

    Args:
        instance: Part of request ids, so that they are unique across the fleet.
        clock: Monotonic. [s]

    Attributes:
        traces: Of the last requests.
    """

    def __init__(
        self,
        machine: AgentMachine,
        *,
        instance: str,
        preparer: Preparer,
        worker: Worker,
        counters: ServingCounters,
        coder: Coder,
        timings: TimingBook,
        shadower: ShadowRunner,
        trace: RunTrace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.machine = machine
        self.peers: Peers | None = None
        self.publisher: Publisher | None = None
        self._instance = instance
        self._worker = worker
        self._counters = counters
        self._coder = coder
        self._timings = timings
        self._shadower = shadower
        self._trace = trace
        self.traces = RequestTraces()
        self._clock = clock
        self._numbers = itertools.count(1)
        self._events: deque[MachineEvent] = deque()
        self._books: deque[Callable[[], None]] = deque()
        """What is to be written down once nobody waits for anything that could leave now."""
        self._handling = False
        self._taken_s = 0.0
        """When the event that is handled now was taken in, which is the machine's time. [s]"""
        self._serves: ExecutionKey | None = None
        """What the event that is handled now is good for; None where it begins or sends nothing."""
        self._computed_s = 0.0
        """What components took within the handling of that event. [s]"""
        self._handled_s: defaultdict[tuple[str, int], float] = defaultdict(float)
        """What handling events of a model's epoch took and is still to be written down. [s]"""
        self._clients: dict[str, Callable[[Answer], None]] = {}
        self._idle = asyncio.Event()
        self._stopping = False
        self._epochs = PreparedEpochs(preparer, counters=counters, timings=timings, clock=clock)
        self._forwarded = ForwardedRequests(machine.node, self._answer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(part="engine")

    def feed(self, event: MachineEvent) -> None:
        """Take an event in and do what follows from it."""
        if isinstance(event, AbortReceived) and self.machine.wants(event.key):
            about = event.key._asdict()
            self._log.info("abort-received", peer=event.peer, code=event.code, text=event.message, **about)
        elif isinstance(event, TensorsArrived) and self.machine.holds(event.key):
            nbytes = sum(array.nbytes for array in event.arrays.values())
            self.traces.arrived(event.key, event.peer, tuple(event.arrays), nbytes, self._clock())
        self._events.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._events:
                self._taken_s = began_s = self._clock()
                self._serves, self._computed_s = None, 0.0
                for action in self.machine.handle(self._events.popleft(), began_s):
                    self._do(action)
                if self._serves is not None:
                    self._handled_s[self._serves[:2]] += self._clock() - began_s - self._computed_s
                while self._books and not self._events:
                    self._books.popleft()()
        finally:
            self._handling = False

    async def tick_for_ever(self) -> None:
        """Let deadlines pass."""
        while True:
            self.feed(Tick())
            await asyncio.sleep(BUSY_TICK_S if self.machine.busy else IDLE_TICK_S)

    async def drained(self, timeout_s: float) -> bool:
        """Take no request from now on, and wait until no client waits for an answer; False if that took too long."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._clients:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End everything that is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._forwarded.close(), self._epochs.close(), return_exceptions=True)
        for request in list(self._clients):
            self._answer(request, self._leaves())

    # --- clients' requests -----------------------------------------------------------------------------------------

    def ask(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None, answer: Callable[[Answer], None]
    ) -> Callable[[], None]:
        """See `dataplane.host.Host`."""
        request = f"{self._instance}-{next(self._numbers)}"
        self._clients[request] = answer
        if self._stopping:
            self._answer(request, self._leaves())
        else:
            self.feed(RequestArrived(request, model, arrays, deadline_s))
        return partial(self._give_up, request)

    def _leaves(self) -> NodeUnreachable:
        return NodeUnreachable(f"{self.machine.node} is shutting down: send again elsewhere, or once it is back")

    def has_part(self) -> bool:
        """See `dataplane.host.Host`."""
        return self.machine.has_part

    def room_bytes(self) -> int | None:
        """See `dataplane.host.Host`."""
        return self.machine.room_bytes()

    async def decode(
        self, key: ExecutionKey, heads: Sequence[TensorHead], payloads: Sequence[Array]
    ) -> dict[str, Array]:
        """Restore coded tensors, in turn with components.

        Raises:
            FrameMalformed: A payload is senseless.
        """
        order, held = self.machine.order_of(key), self.machine.holds(key)
        # Models that nobody deployed here are whatever a stranger wrote: one share for all, and no figures by name.
        share = key.model if held else NOBODYS
        asked_s = self._clock()
        names = [head.name for head in heads]
        if held:
            self.traces.arrived(key, "", names, sum(head.nbytes for head in heads), asked_s)
        arrays, turn = await self._coder.decode(heads, payloads, priority=order, share=share)
        if held:
            self._note_coding(key, "decode", names, turn, asked_s)
        return arrays

    async def infer(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> tuple[dict[str, Array], int]:
        """Answer a client's request; cancelling the call gives it up.

        Raises:
            EdgesplitError: It was refused or could not be completed.
        """
        future: asyncio.Future[tuple[dict[str, Array], int]] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer) -> None:
            if future.done():
                return
            if isinstance(answer, EdgesplitError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        give_up = self.ask(model, arrays, deadline_s, settle)
        try:
            return await future
        except asyncio.CancelledError:
            give_up()
            raise

    # --- actions ---------------------------------------------------------------------------------------------------

    def _do(self, action: Action) -> None:  # noqa: PLR0912  one line an action
        match action:
            case RunComponent():  # the most frequent first
                self._run(action, self._epochs.component(action.key.model, action.generation, action.component))
            case CompleteRequest(request, model, epoch, outputs, latency_s, sizes, as_planned):
                self._answer(request, (dict(outputs), epoch))
                self._counters.completed(model, epoch, latency_s, sizes, as_planned=as_planned)
                # Behind the last step, which is written down later, too.
                self._books.append(partial(self.traces.answered, model, request, latency_s, self._taken_s))
            case SendTensors():
                self._send_raw(action)
            case SendCoded():
                self._spawn(self._send_coded(action))
            case PrepareEpoch(model, generation, spec):
                self._epochs.begin(model, generation, spec, self.feed)
            case ReleaseEpoch(model, epoch, generation):
                self._epochs.release(model, epoch, generation)
                self._handled_s.pop((model, epoch), None)
            case SendAbort(key, peer, code, message):
                if self.machine.knows(peer):
                    self._log.info("abort-sent", peer=peer, request=key.request, code=code, text=message)
                if self.peers is not None:
                    self.peers.send_abort(peer, key, code, message)
            case FailRequest(request, model, epoch, error):
                self._counters.failed(model, epoch, error.code)
                self._log.warning("request-failed", model=model, request=request, epoch=epoch, error=str(error))
                self._answer(request, error)
            case ForwardRequest():
                self._forwarded.begin(action, self.peers)
            case ShadowRequest():
                self._spawn(self._shadow(action))
            case PublishNoise():
                self._counters.checked(action.model, action.mean)
                if self.publisher is not None:
                    self.publisher.publish_noise(action)
            case PublishObserved(model, epochs, serving):
                self._counters.serving(model, serving)
                if self.publisher is not None:
                    self.publisher.publish_observed(model, epochs, serving)
            case WakeAt(at_s):
                asyncio.get_running_loop().call_later(max(at_s - self._clock(), 0.0), self.feed, Awoken())
            case ClearObserved(model):
                self._counters.gone(model)
                if self.publisher is not None:
                    self.publisher.clear_observed(model)
            case EmitEvent(kind, text, model, data):
                if self.publisher is not None:
                    self.publisher.emit(kind, text, model=model, data=data)

    def _give_up(self, request: str) -> None:
        if self._clients.pop(request, None) is None:
            return
        self._idle.set()
        self.feed(RequestCancelled(request))
        self._forwarded.give_up(request)

    def _answer(self, request: str, answer: Answer) -> None:
        tell = self._clients.pop(request, None)
        self._idle.set()
        if tell is not None:
            tell(answer)

    def _send(self, key: ExecutionKey, peer: str, tensors: Sequence[PackedTensor], deadline_s: float) -> None:
        try:
            if self.peers is None:
                raise PeerUnreachable(f"{peer} cannot be reached: the data plane is not up")
            nbytes = sum(tensor.payload.nbytes for tensor in tensors)
            self.traces.sent(key, peer, [tensor.head.name for tensor in tensors], nbytes, self._clock())
            self.peers.send_tensors(peer, key, tensors, deadline_s)
        except EdgesplitError as error:
            self.feed(_send_failed(key, peer, error))

    def _send_raw(self, action: SendTensors) -> None:
        self._serves = action.key
        try:
            packed = [pack_tensor(name, array) for name, array in action.tensors.items()]
        except EdgesplitError as error:
            self.feed(_send_failed(action.key, action.peer, error))
        else:
            self._send(action.key, action.peer, packed, action.deadline_s)

    async def _send_coded(self, action: SendCoded) -> None:
        key, started_s = action.key, self._clock()
        try:
            coded = await self._coder.encode(
                action.tensor, action.array, action.codec, priority=action.order, share=key.model
            )
        except EdgesplitError as error:
            for peer in action.peers:
                self.feed(_send_failed(key, peer, error))
            return
        self._note_coding(key, "encode", (action.tensor,), coded.turn, started_s)
        left_s = max(action.deadline_s - (self._clock() - started_s), 0.0)
        for peer in action.peers:
            self._send(key, peer, [coded.tensor], left_s)

    def _note_coding(
        self, key: ExecutionKey, kind: StepKind, tensors: Sequence[str], turn: CodingTurn, asked_s: float
    ) -> None:
        self.traces.coded(key, kind, tensors, start_s=turn.began_s, seconds=turn.seconds, waited_s=turn.waited_s)
        handling_s = self._clock() - asked_s - turn.seconds - turn.waited_s - turn.planned_s
        self._counters.coded(key, turn.seconds, turn.waited_s, handling_s)
        self._timings.coded(key.model, key.epoch, turn)

    def _run(self, action: RunComponent, component: LoadedComponent) -> None:
        key, ahead = action.key, self._worker.ahead_of(action.order)
        asked_s = started_s = self._clock()

        def run() -> Computed | None:
            nonlocal started_s
            started_s = self._clock()
            # Asked in the thread, right before the work: a request may have ended while this waited.
            wanted = started_s < action.expires_at_s and self.machine.wants(key)
            return component.run(action.arrays) if wanted else None

        def done(computed: Computed | None, error: BaseException | None) -> None:
            if error is not None:  # onnxruntime raises many types; each ends this request only
                detail = f"component {action.component} failed on {self.machine.node}: {first_line(error)}"
                for_sizes = component.refuses(action.arrays, error)
                self.feed(ComponentFailed(key, action.component, detail, for_sizes))
            elif computed is not None:
                waited_s = started_s - asked_s if ahead is Ahead.OTHERS else 0.0
                since_s = asked_s if ahead is Ahead.NOTHING else started_s
                # Between threads; what ran within the handling of an event is told apart from that.
                handed_over_s = 0.0 if self._handling else self._clock() - since_s - computed.compute_s
                self._computed_s += computed.compute_s
                as_planned = component.as_planned(action.arrays)
                self._ran(action, computed, started_s, waited_s, handed_over_s, as_planned=as_planned)

        self._serves = key
        self._worker.submit(Job(run, done, action.order, brief=component.is_brief(action.arrays)), share=key.model)

    def _ran(
        self,
        action: RunComponent,
        computed: Computed,
        started_s: float,
        waited_s: float,
        handed_over_s: float,
        *,
        as_planned: bool,
    ) -> None:
        """Go on with what a run made, and write down what it took; no plan predicts a run at other sizes than planned."""
        key = action.key

        def note() -> None:
            self._trace.ran(key, action.component, started_s, computed.compute_s)
            self.traces.ran(key, action.component, started_s, computed.compute_s, waited_s)
            handling_s = handed_over_s + self._handled_s.pop(key[:2], 0.0)
            self._counters.computed(key, computed.compute_s, waited_s, handling_s)
            if as_planned:
                self._timings.ran(key.model, key.epoch, action.component, computed.as_profiled_s, started_s)
            if (found := self._epochs.find(key.model, action.generation)) is not None:
                spec, _ = found
                if spec.source != self.machine.node and action.component == spec.components[0].component:
                    self._counters.part_done(key)

        self._books.append(note)
        self.feed(ComponentFinished(key, action.component, computed.outputs))

    async def _shadow(self, action: ShadowRequest) -> None:
        found = self._epochs.find(action.model, action.generation)
        if found is None:
            self.feed(ShadowDropped(action.model, action.epoch))
            return

        def wanted() -> bool:
            return self.machine.awaits_check(action.model, action.epoch)

        self.feed(await self._shadower.check(action, *found, wanted))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _send_failed(key: ExecutionKey, peer: str, error: EdgesplitError) -> SendFailed:
    """What is too large for a frame speaks of its own request alone; anything else, of the way to the peer."""
    code = FrameTooLarge.code if isinstance(error, FrameTooLarge) else PeerUnreachable.code
    return SendFailed(key, peer, str(error), code)
