"""Connection to one peer: greeting, tensors, liveness, measuring, reconnecting.

Owns: the one outgoing connection to a peer over its whole life. Its rule: whoever sends learns at once whether the
peer is there; reconnecting never gives up and never hurries. Not here: the estimate's mathematics (`measurement/link_estimator.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.inquiry_messages import PeerClock
from edgesplit.errors import EdgesplitError, PeerUnreachable, ProtocolMismatch, error_from_code
from edgesplit.retrying import Retry, RetryRule, retry_after
from edgesplit.trust.access import Access
from edgesplit.wire.connection import Connection
from edgesplit.wire.frames import Frame, PackedTensor, check_hello
from edgesplit.wire.headers import Abort, Ack, ExecutionKey, Failure, Hello, Ping, Pong, Probe, Tensors
from edgesplit.wire.send_queue import FrameGate
from edgesplit_agent.dataplane.admission import dial
from edgesplit_agent.dataplane.backlog import Backlog, Waiting
from edgesplit_agent.dataplane.host import TrafficCounters, guarded
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.liveness import Liveness
from edgesplit_agent.dataplane.measurement.link_estimator import LinkEstimator
from edgesplit_agent.dataplane.measurement.probing import ProbeBudget
from edgesplit_agent.serving.machine.events import MachineEvent, PeerLost, PeerPressed, PeerRoom, PeerUp, SendFailed

__all__ = ["PeerLink"]

_log = structlog.get_logger(part="dataplane")
_TICK_S = 0.05


@dataclass
class _Session:
    """State of one connection; a new one starts afresh."""

    connection: Connection
    greeted: asyncio.Future[None]
    life: Liveness
    used_at: float
    up: bool = False
    pinged_at: float = 0.0
    room_bytes: int | None = None
    pings: dict[int, float] = field(default_factory=dict[int, float])
    deliveries: dict[int, tuple[ExecutionKey, int]] = field(default_factory=dict[int, tuple[ExecutionKey, int]])


class PeerLink:
    """Outgoing connection to `peer`, kept up until `close`.

    Args:
        peer: The node's name; an agent of another name at the address is refused.
        address: host:port.
        identity: This agent's greeting.
        limits: Bounds and timings.
        emit: Takes the events of the link: up, lost, slow, and what did not arrive.
        counters: Told of acknowledged tensors and of probes.
        gate_for: Given the peer, what to put in front of every frame of a connection; link emulation.
        emulated: Whether the gate limits the rate now.
        budget: Of probes, shared by all links of the node.
        on_silent: Told when the peer is given up because it is silent, and why.
        planned: Whether this node has a part in a plan; before that its links are looked at seldom.
        access: How both sides prove who they are; None: not at all.
        recalled: What the link carried in an earlier run, and how long ago; None: nobody knows. [B/s, s]
    """

    def __init__(
        self,
        peer: str,
        address: str,
        *,
        identity: Hello,
        limits: Limits,
        emit: Callable[[MachineEvent], None],
        counters: TrafficCounters,
        gate_for: Callable[[str], FrameGate],
        emulated: Callable[[], bool],
        budget: ProbeBudget,
        on_silent: Callable[[EdgesplitError], None],
        planned: Callable[[], bool],
        access: Access | None = None,
        recalled: tuple[float, float] | None = None,
    ) -> None:
        self.address = address
        self._peer = peer
        self._identity = identity
        self._limits = limits
        self._emit = emit
        self._counters = counters
        self._gate_for = gate_for
        self._emulated = emulated
        self._budget = budget
        self._on_silent = on_silent
        self._planned = planned
        self._access = access
        self._loop = asyncio.get_running_loop()
        self._estimator = LinkEstimator()
        self._session: _Session | None = None
        self._sequence = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._backlog = Backlog()
        self._pressed = False
        self._draining = False
        self._trouble = ""
        self._doubted = recalled is not None
        if recalled is not None:
            self._estimator.recall(recalled[0], self._loop.time(), age_s=recalled[1])
        self._resting: asyncio.Future[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether the peer has greeted and the connection is open."""
        return self._session is not None and self._session.up and self._session.connection.is_open

    @property
    def trouble(self) -> str:
        """Why there is no connection now, in one sentence; empty while there is one."""
        return "" if self.is_up else self._trouble or f"connecting to {self._peer} at {self.address}"

    def start(self) -> None:
        """Begin connecting."""
        self._task = self._loop.create_task(self._run(), name=f"peer-link-{self._peer}")

    async def close(self) -> None:
        """End the connection for good; nothing is emitted."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._session is not None:
            self._session.connection.close()
            await self._session.connection.wait_closed()

    def state(self) -> LinkState | None:
        """The link as measured, None before the first measurement."""
        estimate = self._estimator.estimate()
        if estimate is None:
            return None
        age_s = max(self._loop.time() - estimate.at, 0.0)
        return LinkState(
            to=self._peer,
            up=self.is_up and not self._estimator.returned.unproven(self._loop.time()),
            bandwidth_bytes_per_s=estimate.bandwidth_bytes_per_s,
            latency_s=estimate.latency_s,
            measured_at_unix_s=time.time() - age_s,
            age_s=age_s,
            scatter=estimate.scatter,
            error=estimate.error,
            latency_error_s=estimate.latency_error_s,
        )

    def clock(self) -> PeerClock | None:
        """How the clock of the peer that is connected now differs, None before it said."""
        ahead_s = self._estimator.clock_ahead_s
        if ahead_s is None or not self.is_up:
            return None
        return PeerClock(peer=self._peer, ahead_least_s=ahead_s[0], ahead_most_s=ahead_s[1])

    def send_tensors(self, key: ExecutionKey, tensors: Sequence[PackedTensor], deadline_s: float | None) -> None:
        """Queue one frame. See `DataPlane.send_tensors`."""
        session = self._live()
        self._stir()
        nbytes = sum(tensor.payload.nbytes for tensor in tensors)
        if not self._backlog and self._fits(session, nbytes):
            self._transmit(session, key, tensors, deadline_s)
            return
        expires_at_s = None if deadline_s is None else self._loop.time() + deadline_s
        self._backlog.put(Waiting(key, tensors, expires_at_s))
        session.connection.on_room = self._drain_soon
        self._press(pressed=True)

    def send_abort(self, key: ExecutionKey, code: str, message: str) -> None:
        """Tell the peer, if it is there; what waits for it of that request is dropped."""
        self._backlog.drop(key)
        if self._session is not None and self.is_up:
            abort = Abort(
                model=key.model,
                epoch=key.epoch,
                request=key.request,
                code=code,
                message=message,
                origin=self._identity.node,
            )
            self._session.connection.send(abort, urgent=True)

    def used(self) -> None:
        """Something came from the peer by its own connection: it is part of what goes on now."""
        if self._session is not None:
            self._session.used_at = self._loop.time()
            self._stir()

    def lose(self, reason: str) -> None:
        """Give the connection up at once and say so; reconnecting begins."""
        if self._session is not None:
            self._session.connection.abort(PeerUnreachable(reason))

    def drop_revoked(self) -> None:
        """Give the connection up where the peer's certificate is trusted no more."""
        shown = None if self._session is None else self._session.connection.peer_certificate
        if self._access is not None and self._access.is_revoked(shown):
            self.lose(f"the certificate of node {self._peer} was revoked")

    def on_opened(self, connection: Connection) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`; the opener goes on by itself."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        session, header, now = self._session, frame.header, self._loop.time()
        if session is None or session.connection is not connection:
            return
        session.life.heard()
        if isinstance(header, Pong):
            self._estimator.pong_received(header.sequence, now, header.arrived_s)
            if header.room_bytes != session.room_bytes:
                session.room_bytes = header.room_bytes
                self._emit(PeerRoom(self._peer, header.room_bytes))
            if (asked_at := session.pings.pop(header.sequence, None)) is not None:
                session.life.answered(now - asked_at, now)
        elif isinstance(header, Ack):
            self._acknowledged(session, header, now)
        elif isinstance(header, Hello):
            self._greet(session, header)
        elif isinstance(header, Failure):
            connection.close(error_from_code(header.code, header.message), tell=False)

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        session = self._session
        if session is None or session.connection is not connection:
            return
        self._session = None
        self._stir()
        lost = [key for key, _ in session.deliveries.values()] + self._backlog.clear()
        self._press(pressed=False)
        error = reason or PeerUnreachable(f"the connection to node {self._peer} was closed")
        if not session.greeted.done():
            session.greeted.set_exception(error)
        if session.up and not self._closed:
            self._trouble = str(error)
            _log.warning("peer-lost", peer=self._peer, reason=str(error))
            self._emit(PeerLost(self._peer, str(error)))
            detail = f"{self._identity.node} lost {self._peer} while tensors were on their way to it"
            for key in lost:
                self._emit(SendFailed(key, self._peer, detail))

    async def _run(self) -> None:
        rule = RetryRule(first_s=self._limits.retry_min_s, most_s=self._limits.retry_max_s)
        retry: Retry | None = None
        while True:
            try:
                await self._connect_and_serve()
                retry = None
                pause_s = self._limits.retry_min_s
            except EdgesplitError as error:
                retry = retry_after(retry, self._loop.time(), random.random(), rule)  # noqa: S311  no secret
                pause_s = retry.next_at_s - retry.failed_at_s
                if str(error) != self._trouble:
                    _log.warning("peer-not-connected", peer=self._peer, address=self.address, reason=str(error))
                    self._trouble = str(error)
                if isinstance(error, ProtocolMismatch):
                    pause_s = self._limits.mismatch_retry_s
            await asyncio.sleep(pause_s)

    async def _connect_and_serve(self) -> None:
        """One connection from its opening to its end; raises only if it never came up."""
        connection = await dial(self.address, self._peer, self, self._limits, self._access)
        connection.gate = self._gate_for(self._peer)
        now, limits = self._loop.time(), self._limits
        life = Liveness(limits.dead_after_s, limits.dead_after_limit_s, _TICK_S, now)
        session = _Session(connection, self._loop.create_future(), life, used_at=now)
        self._session = session
        try:
            connection.send(self._identity, urgent=True)
            async with asyncio.timeout(self._limits.connect_timeout_s):
                await session.greeted
        except TimeoutError:
            error = PeerUnreachable(f"node {self._peer} at {self.address} accepted the connection but did not greet")
            connection.abort(error)
            await connection.wait_closed()
            raise error from None
        self._estimator.connected(self._loop.time(), doubted=self._doubted, paced=connection.models_path)
        self._doubted = False
        session.up = True
        _log.info("peer-connected", peer=self._peer, address=self.address)
        self._emit(PeerRoom(self._peer, None))  # until it says so
        self._emit(PeerUp(self._peer))
        await self._watch(session)

    async def _watch(self, session: _Session) -> None:
        """Ping, probe and judge until the connection ends."""
        limits = self._limits
        while session.connection.is_open:
            now = self._loop.time()
            self._estimator.slow_start = not self._emulated()
            if self._estimator.waiting:
                self._look_at_window(session, now)
            session.life.tick(now, owed=self._estimator.waiting)
            if session.life.overdue:
                answers = session.connection.acknowledged(limits.dead_after_s)
                if reason := session.life.verdict(acknowledged=answers):
                    silent = PeerUnreachable(f"node {self._peer} is lost: {reason}")
                    self._doubted = True
                    session.connection.abort(silent)
                    self._on_silent(silent)
                    break
            idle = now - session.used_at > limits.idle_after_s
            interval_s = self._ping_interval_s(idle=idle)
            if now - session.pinged_at >= interval_s:
                self._ping(session, now)
            self._probe(session, now)
            self._drain()
            await self._rest(self._due_s(session, now, interval_s) if idle else _TICK_S)
        await session.connection.wait_closed()

    def _ping_interval_s(self, *, idle: bool) -> float:
        limits = self._limits
        if not idle:
            return limits.ping_interval_s
        # While an answer is owed, as to a probe that a slow link carries for long, pongs say that the peer lives.
        seldom = not self._planned() and not self._estimator.waiting
        return limits.unplanned_ping_interval_s if seldom else limits.idle_ping_interval_s

    def _due_s(self, session: _Session, now: float, interval_s: float) -> float:
        """When to look at an idle link again. [s]

        Every look costs a tenth of a millisecond: a node with many peers would spend most of its time on them. While an answer is owed, silence
        is counted.
        """
        if self._estimator.waiting or self._backlog:
            return _TICK_S
        left_s = max(session.pinged_at + interval_s - now, _TICK_S)
        if self._estimator.calm(now):
            return left_s
        # What is suspected of a link decides something where there are plans.
        return _TICK_S if self._planned() else min(left_s, self._limits.idle_ping_interval_s)

    async def _rest(self, seconds: float) -> None:
        """Wait for so long, or where that is long until something is to be looked at. [s]"""
        if seconds <= _TICK_S:
            await asyncio.sleep(seconds)
            return
        self._resting = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._stir)
        try:
            await self._resting
        finally:
            timer.cancel()
            self._resting = None

    def _stir(self) -> None:
        """Rest no longer; what is sent next is owed from now on."""
        if self._resting is None or self._resting.done():
            return
        if self._session is not None:
            self._session.life.rested(self._loop.time())
        self._resting.set_result(None)

    def _greet(self, session: _Session, hello: Hello) -> None:
        check_hello(hello)
        if hello.node != self._peer:
            raise PeerUnreachable(f"{self.address} answers as node {hello.node!r}, not as {self._peer!r}")
        if not session.greeted.done():
            session.greeted.set_result(None)

    def _live(self) -> _Session:
        if self._session is None or not self.is_up:
            raise PeerUnreachable(f"node {self._peer} at {self.address} is not connected")
        return self._session

    def _fits(self, session: _Session, nbytes: int) -> bool:
        pending = session.connection.pending_bytes
        return not pending or pending + nbytes <= self._limits.queue_bytes

    def _drain_soon(self) -> None:
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Send what waited, as far as there is room now."""
        self._draining = False
        session = self._session
        if session is None or not self.is_up:
            return
        now = self._loop.time()
        while (waiting := self._backlog.take(lambda nbytes: self._fits(session, nbytes), now)) is not None:
            left_s = None if waiting.expires_at_s is None else waiting.expires_at_s - now
            self._transmit(session, waiting.key, waiting.tensors, left_s)
        if not self._backlog:
            session.connection.on_room = None
            self._press(pressed=False)

    def _press(self, *, pressed: bool) -> None:
        """Say when the backlog begins and ends."""
        if pressed != self._pressed:
            self._pressed = pressed
            if pressed:
                text = f"{self._peer} takes tensors more slowly than they come"
                _log.warning("peer-slow", peer=self._peer, text=text)
            self._emit(PeerPressed(self._peer, pressed))

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _ping(self, session: _Session, now: float) -> None:
        session.pinged_at = now
        sequence = self._next_sequence()
        session.pings[sequence] = now
        session.connection.send(Ping(sequence=sequence), urgent=True)
        self._estimator.ping_sent(sequence, now)

    def _probe(self, session: _Session, now: float) -> None:
        if not self._limits.probing or session.connection.pending_bytes:
            return
        padding = self._estimator.probe_due(now)
        if padding is not None and (self._estimator.ramping or self._budget.allows(now)):
            if now - session.pinged_at >= self._limits.idle_ping_interval_s:
                self._ping(session, now)  # ahead of it: silence is counted from here on
            sequence = self._next_sequence()
            afresh = self._estimator.starts_afresh(now) and session.connection.start_afresh()
            self._estimator.probe_sent(padding, now)
            session.connection.send(Probe(sequence=sequence, padding=padding))
            self._told_sent(session, sequence, padding, now, afresh=afresh)
            self._budget.spend(self._estimator.expected_s(padding), now, padding)
            self._counters.probed(self._peer, padding)

    def _acknowledged(self, session: _Session, ack: Ack, now: float) -> None:
        self._look_at_window(session, now)
        begun = None if ack.begun_s is None else (ack.begun_s, ack.rest_bytes)
        seconds = self._estimator.data_acknowledged(ack.sequence, now, ack.received_bytes or None, ack.arrived_s, begun)
        if session.up and self._estimator.ramping and session.connection.is_open:
            self._probe(session, now)
        delivery = session.deliveries.pop(ack.sequence, None)
        if seconds is not None and delivery is not None:
            key, nbytes = delivery
            latency_s = (self._estimator.round_trip_s or 0.0) / 2
            guarded(self._counters.sent, self._peer, key, nbytes, seconds + latency_s)

    def _transmit(
        self,
        session: _Session,
        key: ExecutionKey,
        tensors: Sequence[PackedTensor],
        deadline_s: float | None,
    ) -> None:
        now, frame_bytes = self._loop.time(), sum(tensor.payload.nbytes for tensor in tensors)
        afresh = self._estimator.starts_afresh(now, frame_bytes) and session.connection.start_afresh()
        sequence = self._next_sequence()
        header = Tensors(
            sequence=sequence,
            model=key.model,
            epoch=key.epoch,
            request=key.request,
            tensors=tuple(tensor.head for tensor in tensors),
            deadline_s=deadline_s,
        )
        try:
            nbytes = session.connection.send(header, [tensor.payload for tensor in tensors]).nbytes
        except EdgesplitError as error:
            raise PeerUnreachable(f"node {self._peer} cannot be sent to: {error}") from error
        session.deliveries[sequence] = (key, nbytes)
        session.used_at = now
        self._told_sent(session, sequence, frame_bytes, now, afresh=afresh, tensors=True)

    def _told_sent(
        self, session: _Session, sequence: int, nbytes: int, now: float, *, afresh: bool, tensors: bool = False
    ) -> None:
        """Have the estimate know what leaves, and how the connection lets it leave. [B, s]"""
        self._look_at_window(session, now)
        pace = session.connection.pace_bytes_per_s
        self._estimator.data_sent(sequence, nbytes, now, afresh=afresh, pace=pace, tensors=tensors)

    def _look_at_window(self, session: _Session, now: float) -> None:
        if session.connection.window_shut:
            self._estimator.window_shut(now)
