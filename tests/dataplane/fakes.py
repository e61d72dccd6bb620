"""An agent as the data plane asks it, and a peer that says whatever a test wants."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np

from edgesplit.errors import InvalidTensor
from edgesplit.release import PROTOCOL
from edgesplit.trust.access import Access
from edgesplit.wire.frames import Frame, FrameLimits, encode_frame, pack_tensor, unpack_tensors
from edgesplit.wire.headers import ExecutionKey, Header, Hello, TensorHead
from edgesplit.wire.parser import FrameParser
from edgesplit.wire.tensors import Array
from edgesplit_agent.dataplane.emulation import Emulation
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.plane import DataPlane
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    Answer,
    MachineEvent,
    PeerLost,
    PeerPressed,
    PeerRoom,
    PeerUp,
    SendFailed,
    TensorsArrived,
)
from tests.dataplane.fleets import MadeFleet
from tests.waiting import until

QUIET = Limits(probing=False)
DEADLINE_S = 60.0
"""Of what a test sends: it ends nothing, however slow the machine is."""


class Secured:
    """Whether planes and peers of a test are of a secured fleet; set by the fixture `both_ways`."""

    fleet: MadeFleet | None = None


SECURED = Secured()


class RecordingHost:
    """Remembers what happened; doubles what it is asked to infer."""

    def __init__(self) -> None:
        self.tensors: list[TensorsArrived] = []
        self.aborts: list[AbortReceived] = []
        self.counted: list[tuple[str, str, int, float]] = []
        self.ups: list[str] = []
        self.pressed: list[bool] = []
        self.lost: list[PeerLost] = []
        self.room: int | None = None
        self.rooms: list[int | None] = []
        self.undelivered: list[SendFailed] = []
        self.open = asyncio.Event()
        self.open.set()
        self.inferring = 0
        self.arrived_bytes = 0
        self.cancelled = 0
        self.planned = True
        self.broken = False

    def emit(self, event: MachineEvent) -> None:
        match event:
            case TensorsArrived():
                if self.broken:
                    raise RuntimeError("the handler is broken")
                self.tensors.append(event)
            case AbortReceived():
                self.aborts.append(event)
            case PeerUp(peer):
                self.ups.append(peer)
            case PeerLost():
                self.lost.append(event)
            case PeerPressed(_, pressed):
                self.pressed.append(pressed)
            case PeerRoom(_, nbytes):
                self.rooms.append(nbytes)
            case SendFailed():
                self.undelivered.append(event)
            case _:
                raise AssertionError(f"a data plane does not know of {event}")

    def received(self, nbytes: int) -> None:
        self.arrived_bytes += nbytes

    def sent(self, peer: str, key: ExecutionKey, nbytes: int, seconds: float) -> None:
        self.counted.append((peer, key.request, nbytes, seconds))

    def probed(self, peer: str, nbytes: int) -> None:
        """Probes are counted by the link's budget, too."""

    def has_part(self) -> bool:
        """As after a plan, unless a test says otherwise."""
        return self.planned

    def room_bytes(self) -> int | None:
        return self.room

    async def decode(
        self, key: ExecutionKey, heads: Sequence[TensorHead], payloads: Sequence[Array]
    ) -> dict[str, Array]:
        del key
        return unpack_tensors(heads, payloads)

    def ask(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None, answer: Callable[[Answer], None]
    ) -> Callable[[], None]:
        self.inferring += 1
        if model == "bug":
            raise RuntimeError("secret detail")

        async def infer() -> None:
            await self.open.wait()
            if model != "double":
                answer(InvalidTensor(f"input 'x' of model {model} has the wrong shape"))
            else:
                answer(({name: np.asarray(array * 2) for name, array in arrays.items()}, 7))

        def give_up() -> None:
            self.cancelled += 1
            task.cancel()

        task = asyncio.get_running_loop().create_task(infer())
        return give_up


class Plane:
    """A data plane on loopback."""

    def __init__(
        self,
        node: str,
        emulation: Emulation,
        limits: Limits,
        listen: str,
        socket: str = "",
        access: Access | None = None,
    ) -> None:
        self.handler = RecordingHost()
        self.node = node
        self.data = DataPlane(
            node,
            "instance",
            "1",
            listen=listen,
            socket=socket,
            emulation=emulation,
            limits=limits,
            emit=self.handler.emit,
            host=self.handler,
            counters=self.handler,
            access=access,
        )
        self.access = access
        self.address = ""

    def send(self, peer: str, request: str, arrays: Mapping[str, Array], codec: str = "raw") -> None:
        packed = [pack_tensor(name, array, codec) for name, array in arrays.items()]
        self.data.send_tensors(peer, ExecutionKey("m", 3, request), packed, deadline_s=DEADLINE_S)


@asynccontextmanager
async def plane(
    node: str,
    *,
    emulation: Emulation | None = None,
    limits: Limits = QUIET,
    listen: str = "127.0.0.1:0",
    socket: str = "",
    access: Access | None = None,
) -> AsyncIterator[Plane]:
    access = access or (None if SECURED.fleet is None else SECURED.fleet.node(node))
    made = Plane(node, emulation or Emulation(), limits, listen, socket, access)
    made.address = await made.data.start()
    try:
        yield made
    finally:
        await made.data.close()


def server_context(node: str) -> ssl.SSLContext | None:
    """Of somebody else's server that plays a node, where all of a test is secured."""
    return None if SECURED.fleet is None else SECURED.fleet.node(node).contexts.server


async def connected(first: Plane, second: Plane) -> None:
    """Connect `first` to `second`."""
    first.data.set_peers({second.node: second.address})
    await until(lambda: first.data.is_up(second.node))


class RawPeer:
    """Speaks bytes to an address."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = FrameParser(FrameLimits())
        self.frames: list[Frame] = []

    @classmethod
    async def connect(cls, address: str) -> RawPeer:
        """Over TLS, as the node `stranger`, where all of a test is secured."""
        host, port = address.split(":")
        context = None if SECURED.fleet is None else SECURED.fleet.node("stranger").contexts.client
        return cls(*await asyncio.open_connection(host, int(port), ssl=context))

    def say(self, header: Header) -> None:
        self.writer.write(b"".join(encode_frame(header)))

    def end(self) -> None:
        """End the stream of this side, over TLS without its farewell."""
        if self.writer.can_write_eof():
            self.writer.write_eof()
        else:
            self.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def greet(
        self, role: Literal["agent", "client"] = "agent", protocol: int = PROTOCOL, node: str = "stranger"
    ) -> None:
        self.say(Hello(protocol=protocol, role=role, node=node, version="9", instance="i"))

    async def hear_until_closed(self) -> list[Header]:
        while data := await self.reader.read(1 << 16):
            self.frames += self.parser.feed(data)
        self.writer.close()
        return [frame.header for frame in self.frames]

    async def hear(self, count: int) -> list[Header]:
        while len(self.frames) < count:
            self.frames += self.parser.feed(await self.reader.read(1 << 16))
        return [frame.header for frame in self.frames]
