"""Accepted connections: peers' tensors, clients' requests.

Owns: the greeting, acknowledgements, pongs, and clients' requests until they are answered. Its rule: a connection that breaks the
protocol is told why and closed; a request that fails is answered with Failure to its client alone. Not here: what
tensors and requests are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine

import structlog

from edgesplit.daemon.logs import LineLimit
from edgesplit.errors import (
    EdgesplitError,
    FrameMalformed,
    FrameTruncated,
    NotTrusted,
    Overloaded,
    ProtocolError,
    ProtocolMismatch,
    RequestFailed,
    Unreachable,
    error_from_code,
)
from edgesplit.trust.access import Access
from edgesplit.wire.connection import Connection
from edgesplit.wire.frames import Begun, Frame, check_hello, pack_tensors, unpack_tensors
from edgesplit.wire.headers import Abort, Ack, Cancel, Failure, Hello, Infer, Ping, Pong, Probe, Result, Tensors
from edgesplit.wire.tensors import Array, contiguous
from edgesplit_agent.dataplane.admission import admit
from edgesplit_agent.dataplane.connection_limit import Guest, gives_way, is_full
from edgesplit_agent.dataplane.emulation import Emulator
from edgesplit_agent.dataplane.host import Host, TrafficCounters, guarded
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.serving.machine.events import AbortReceived, Answer, MachineEvent, TensorsArrived

__all__ = ["Incoming"]

_log = structlog.get_logger(part="dataplane")
_REMEMBERED = 256
"""Strangers of another version that are named once; what they say of themselves is theirs to choose."""
_LINES, _LINES_S = 20, 60.0
"""Lines in the log about strangers, in so much time; what limits did is counted in any case. [1, s]"""
_MOST_TASKS = 1024
"""Coded tensors of one connection that wait to be restored, and answers that wait for room."""
_REST_S = 1.0
"""How often limits are looked at while no frame arrives in part and nothing waits to leave. [s]"""


class Incoming:
    """Receiver of all accepted connections.

    Args:
        identity: This agent's greeting.
        limits: Bounds and timings.
        emit: Takes the events that frames are.
        host: Asked for answers and for room.
        counters: Told of what arrives.
        emulator: Delays what goes back to emulated peers.
        used: Told of each peer whose tensors arrive.
        is_known: Whether this agent keeps a connection to a node of that name.
        access: Whom a node of a secured fleet lets in; None: everybody.

    Attributes:
        refused: Counts what limits for strangers turned away or ended.
    """

    def __init__(
        self,
        identity: Hello,
        limits: Limits,
        *,
        emit: Callable[[MachineEvent], None],
        host: Host,
        counters: TrafficCounters,
        emulator: Emulator,
        used: Callable[[str], None],
        is_known: Callable[[str], bool] = lambda _: False,
        access: Access | None = None,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._emit = emit
        self._host = host
        self._counters = counters
        self._emulator = emulator
        self._used = used
        self._is_known = is_known
        self._access = access
        self._loop = asyncio.get_running_loop()
        self._guests: dict[Connection, Guest] = {}
        self._stirred = asyncio.Event()
        self._told: set[str] = set()
        self._lines = LineLimit(_LINES, _LINES_S)
        # Of their own: a crowd that never greets must not drown what is said of those who lie.
        self._arrival_lines = LineLimit(_LINES, _LINES_S)
        self.refused: Counter[str] = Counter()
        self._ticker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin telling senders of long frames that they arrive."""
        self._ticker = self._loop.create_task(self._tell_progress(), name="data-plane-progress")

    async def close(self) -> None:
        """End all connections in order."""
        if self._ticker is not None:
            self._ticker.cancel()
        connections = list(self._guests)
        for connection in connections:
            connection.close()
        await asyncio.gather(*(connection.wait_closed() for connection in connections))

    @property
    def agents(self) -> frozenset[str]:
        """Names under which agents are connected to this one now."""
        hellos = (guest.hello for guest in self._guests.values())
        return frozenset(hello.node for hello in hellos if hello is not None and hello.role == "agent" and hello.node)

    def drop(self, node: str, reason: EdgesplitError) -> None:
        """End what a peer opened that is lost: half a frame of it may wait for its rest for ever."""
        for connection, guest in list(self._guests.items()):
            if guest.hello is not None and guest.hello.role == "agent" and guest.hello.node == node:
                connection.abort(reason)

    def drop_revoked(self) -> None:
        """End connections whose certificate is trusted no more."""
        for connection in list(self._guests):
            self._check_revoked(connection)

    def turned_away(self, kind: str, host: str, reason: str) -> None:
        """See `edgesplit.wire.secured.reception.ReceptionPolicy`."""
        self.refused[kind] += 1
        if self._arrival_lines.allows(self._loop.time()):
            _log.warning("connection-refused", address=host, reason=reason)

    def admits(self, host: str) -> bool:
        """See `edgesplit.wire.listener.AcceptPolicy`: another connection from there has a place, or gets that of one worth less."""
        guests = self._guests.values()
        if not is_full(guests, host, self._limits):
            return True
        near = [guest for guest in guests if guest.host == host] if host else []
        crowded = len(near) >= self._limits.max_connections_per_address
        if self._make_room(near if crowded else guests):
            return True
        self.refused["connections"] += 1
        where = host or "a local program"
        if self._lines.allows(self._loop.time()):
            _log.warning("connection-refused", address=where, reason=f"{len(near)} of {len(guests)} come from there")
        return False

    def exhausted(self, error: OSError) -> None:
        """See `edgesplit.wire.listener.AcceptPolicy`."""
        self.refused["descriptors"] += 1
        if self._lines.allows(self._loop.time()):
            _log.error("accept-failed", reason=error.strerror, connections=len(self._guests))
        self._make_room(self._guests.values())

    def _make_room(self, guests: Collection[Guest]) -> bool:
        """End the connection that is worth least."""
        guest = gives_way(guests, self._loop.time(), self._is_known)
        if guest is None:
            return False
        self.refused["idle-connections"] += 1
        guest.connection.abort(Overloaded("another connection took the place of this one, which was idle"))
        return True

    def on_opened(self, connection: Connection) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        overdue = self._loop.call_later(self._limits.connect_timeout_s, self._expect_greeting, connection)
        self._guests[connection] = Guest(connection, overdue, self._loop.time())
        connection.on_unfinished = self._stirred.set
        self._stirred.set()
        self._check_revoked(connection)

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        guest, header = self._guests[connection], frame.header
        guest.used_s = self._loop.time()
        if isinstance(header, Hello):
            self._greet(connection, guest, header)
            return
        if isinstance(header, Failure):
            connection.close(error_from_code(header.code, header.message), tell=False)
            return
        if guest.hello is None:
            raise FrameMalformed(f"{connection.peer_address} did not greet: its first frame must be Hello")
        if isinstance(header, Ping):
            room_bytes = self._host.room_bytes()
            pong = Pong(sequence=header.sequence, room_bytes=room_bytes, arrived_s=guest.used_s)
            connection.send(pong, urgent=True)
        elif isinstance(header, Infer):
            self._infer(connection, guest, header, frame)
        elif isinstance(header, Cancel):
            self._give_up(guest, header.id)
        elif guest.hello.role != "agent":
            raise FrameMalformed(f"{connection.peer_address} is a client and sent what only agents send")
        elif isinstance(header, Tensors):
            connection.send(_acknowledgement(header, frame.begun, connection, guest), urgent=True)
            self._used(guest.hello.node)
            self._tensors(connection, guest, guest.hello.node, frame, header)
        elif isinstance(header, Probe):
            connection.send(_acknowledgement(header, frame.begun, connection, guest), urgent=True)
        elif isinstance(header, Abort):
            self._emit(AbortReceived(guest.hello.node, header.key, header.code, header.message))

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        guest = self._guests.pop(connection)
        # It holds the connection and its buffers; strangers can come and go by the thousand.
        guest.overdue.cancel()
        for task in guest.tasks:
            task.cancel()
        for identifier in list(guest.infers):
            self._give_up(guest, identifier)
        if isinstance(reason, NotTrusted):
            self.refused["not-trusted"] += 1
        if isinstance(reason, ProtocolError | NotTrusted):
            self._log_once(connection, guest, reason)

    def _check_revoked(self, connection: Connection) -> None:
        if self._access is not None:
            try:
                self._access.check(connection.peer_certificate)
            except NotTrusted as error:
                connection.close(error)

    def _log_once(self, connection: Connection, guest: Guest, reason: EdgesplitError) -> None:
        # A peer of another version, or one that is not trusted, comes back for ever; it is named once.
        key = f"{connection.peer_address.rpartition(':')[0]} {reason}"
        if isinstance(reason, ProtocolMismatch | NotTrusted):
            if key in self._told:
                return
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told.add(key)
        if not self._lines.allows(self._loop.time()):
            return
        node = guest.hello.node if guest.hello is not None else ""
        event = "connection-broken-off" if isinstance(reason, FrameTruncated) else "connection-refused"
        _log.warning(event, address=connection.peer_address, node=node, code=reason.code, reason=str(reason))

    def _expect_greeting(self, connection: Connection) -> None:
        guest = self._guests.get(connection)
        if guest is not None and guest.hello is None:
            self.refused["silent-connections"] += 1
            connection.close(FrameMalformed(f"{connection.peer_address} connected and did not greet"))

    def _greet(self, connection: Connection, guest: Guest, hello: Hello) -> None:
        if guest.hello is not None:
            raise FrameMalformed(f"{connection.peer_address} greeted twice")
        check_hello(hello)
        if self._access is not None:
            guest.permit = admit(hello, connection, self._access)
        guest.hello = hello
        if hello.node:
            connection.gate = self._emulator.gate(hello.node)
        connection.send(self._identity, urgent=True)

    def _tensors(self, connection: Connection, guest: Guest, node: str, frame: Frame, header: Tensors) -> None:
        guarded(self._counters.received, sum(head.nbytes for head in header.tensors))
        if all(head.codec == "raw" for head in header.tensors):
            arrays = unpack_tensors(header.tensors, frame.payloads)
            self._emit(TensorsArrived(node, header.key, arrays, header.deadline_s))
        elif len(guest.tasks) >= _MOST_TASKS:
            raise Overloaded(f"{len(guest.tasks)} coded tensors of {node or 'this connection'} wait to be restored")
        else:
            self._spawn(guest, self._decode(connection, node, frame, header))

    async def _decode(self, connection: Connection, node: str, frame: Frame, header: Tensors) -> None:
        started_s = self._loop.time()
        try:
            arrays = await self._host.decode(header.key, header.tensors, frame.payloads)
        except EdgesplitError as error:
            connection.close(error)
            return
        left_s = header.deadline_s
        if left_s is not None:
            left_s = max(left_s - (self._loop.time() - started_s), 0.0)
        self._emit(TensorsArrived(node, header.key, arrays, left_s))

    def _infer(self, connection: Connection, guest: Guest, header: Infer, frame: Frame) -> None:
        if header.id in guest.infers:
            raise FrameMalformed(f"{connection.peer_address} has a request {header.id} in flight already")
        if len(guest.infers) >= self._limits.infers_per_connection:
            error = Overloaded(
                f"{len(guest.infers)} requests of this client are in flight already: send fewer at a time"
            )
            connection.send(Failure(id=header.id, code=error.code, message=str(error)), urgent=True)
            return
        guest.infers[header.id] = None
        started = time.monotonic()

        def answer(outcome: Answer) -> None:
            guest.infers.pop(header.id, None)
            if not connection.is_open:
                return
            if isinstance(outcome, EdgesplitError):
                self._refuse(connection, header.id, outcome)
            else:
                self._reply(connection, guest, header.id, outcome, time.monotonic() - started)

        try:
            if self._access is not None and guest.permit is not None:
                self._access.spend(guest.permit, header.model)
            arrays = unpack_tensors(header.tensors, frame.payloads)
            give_up = self._host.ask(header.model, arrays, header.deadline_s, answer)
        except EdgesplitError as error:
            answer(error)
        except Exception:
            _log.exception("request-failed", model=header.model)
            answer(RequestFailed("the request failed for a reason of the node's own: see its log"))
        else:
            if header.id in guest.infers:
                guest.infers[header.id] = give_up

    def _give_up(self, guest: Guest, identifier: int) -> None:
        # Its answer may have left in the meantime.
        give_up = guest.infers.pop(identifier, None)
        if give_up is not None:
            give_up()

    def _reply(
        self,
        connection: Connection,
        guest: Guest,
        identifier: int,
        answer: tuple[dict[str, Array], int],
        seconds: float,
    ) -> None:
        outputs, epoch = answer
        heads, payloads = pack_tensors([(name, contiguous(name, array), "raw") for name, array in outputs.items()])
        result = Result(id=identifier, epoch=epoch, tensors=heads, seconds=seconds)
        if connection.has_room(payloads):
            connection.send(result, payloads)
        else:
            self._spawn(guest, self._reply_when_room(connection, result, payloads))

    async def _reply_when_room(self, connection: Connection, result: Result, payloads: tuple[Array, ...]) -> None:
        try:
            await connection.send_when_room(result, payloads)
        except EdgesplitError as error:
            self._refuse(connection, result.id, error)

    def _refuse(self, connection: Connection, identifier: int, error: EdgesplitError) -> None:
        if connection.is_open:
            connection.send(Failure(id=identifier, code=error.code, message=str(error)), urgent=True)

    def _spawn(self, guest: Guest, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        guest.tasks.add(task)
        task.add_done_callback(guest.tasks.discard)

    async def _tell_progress(self) -> None:
        """A long frame on a slow link keeps pings waiting behind it; say that it moves, and end it where it does not."""
        while True:
            # Seven times a second costs most of what an idle agent takes.
            if not any(connection.in_frame or connection.pending_bytes for connection in self._guests):
                await self._rest()
            await asyncio.sleep(self._limits.ping_interval_s)
            self._bound_arriving()
            for connection, guest in list(self._guests.items()):
                if not connection.is_open:
                    continue
                received, before = connection.received_bytes, guest.pace.received_bytes
                agent = guest.hello is not None and guest.hello.role == "agent"
                self._check_pace(connection, guest, is_agent=agent)
                if agent and connection.is_open and connection.in_frame and received != before:
                    connection.send(Pong(sequence=0, room_bytes=self._host.room_bytes()), urgent=True)

    async def _rest(self) -> None:
        """Wait until somebody comes or begins a long frame; while somebody is there, not longer than the limits of who is silent need."""
        self._stirred.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REST_S if self._guests else None):
                await self._stirred.wait()

    def _bound_arriving(self) -> None:
        """End the connection that holds most, where unfinished frames of those who are no known peers hold too much."""
        held = {
            connection: connection.arriving_bytes
            for connection, guest in self._guests.items()
            if connection.is_open and connection.in_frame and not self._is_peer(guest)
        }
        # One alone is bounded by what a frame may have.
        if sum(held.values()) > self._limits.arriving_bytes and len(held) > 1:
            largest = max(held, key=lambda connection: held[connection])
            self.refused["arriving-bytes"] += 1
            largest.close(Overloaded(f"frames that arrive here hold {sum(held.values())} B together: send again later"))

    def _is_peer(self, guest: Guest) -> bool:
        return guest.hello is not None and guest.hello.role == "agent" and self._is_known(guest.hello.node)

    def _check_pace(self, connection: Connection, guest: Guest, *, is_agent: bool) -> None:
        """End a connection that holds memory here and does not go on."""
        pace, now_s, limits = guest.pace, self._loop.time(), self._limits
        if not pace.arriving(connection.received_bytes, connection.in_frame, now_s, limits):
            self.refused["slow-connections"] += 1
            connection.close(FrameTruncated(f"{connection.peer_address} began a frame and sends it too slowly"))
        elif not pace.leaving(connection.sent_bytes, connection.pending_bytes, now_s, limits):
            self.refused["slow-connections"] += 1
            connection.abort(Overloaded(f"{connection.peer_address} reads nothing of what it is sent"))
        elif is_agent and now_s - guest.used_s >= limits.silent_agent_s and not connection.in_frame:
            self.refused["silent-connections"] += 1
            connection.close(Unreachable(f"{connection.peer_address} greeted as an agent and says nothing"))


def _acknowledgement(header: Tensors | Probe, begun: Begun | None, connection: Connection, guest: Guest) -> Ack:
    """Of a frame that has just arrived."""
    return Ack(
        sequence=header.sequence,
        received_bytes=connection.body_bytes,
        arrived_s=guest.used_s,
        begun_s=begun.at_s if begun else None,
        rest_bytes=connection.body_bytes - begun.body_bytes if begun else 0,
    )
