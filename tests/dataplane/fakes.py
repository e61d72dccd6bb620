"""An agent as the data plane sees it, and a peer that says whatever a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np

from edgesplit.control.messages import PROTOCOL
from edgesplit.errors import InvalidTensor
from edgesplit.wire.frames import Frame, FrameLimits, encode_frame, pack_tensor, unpack_tensors
from edgesplit.wire.headers import Header, Hello, Tensors
from edgesplit.wire.parser import FrameParser
from edgesplit.wire.tensors import Array
from edgesplit_agent.dataplane.contract import Answer, Limits
from edgesplit_agent.dataplane.emulation import Emulation
from edgesplit_agent.dataplane.plane import DataPlane

QUIET = Limits(probing=False)


class RecordingHandler:
    """Remembers what it was told; doubles what it is asked to infer."""

    def __init__(self) -> None:
        self.tensors: list[tuple[str, str, int, str, dict[str, Array], float | None]] = []
        self.aborts: list[tuple[str, str, int, str, str, str]] = []
        self.sent: list[tuple[str, str, int, float]] = []
        self.ups: list[str] = []
        self.pressed: list[tuple[str, bool]] = []
        self.lost: list[tuple[str, str]] = []
        self.room: int | None = None
        self.rooms: list[tuple[str, int | None]] = []
        self.undelivered: list[tuple[str, str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.inferring = 0
        self.received = 0
        self.cancelled = 0
        self.broken = False

    def on_tensors(
        self, peer: str, model: str, epoch: int, request: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> None:
        if self.broken:
            raise RuntimeError("the handler is broken")
        self.tensors.append((peer, model, epoch, request, arrays, deadline_s))

    def on_received(self, peer: str, nbytes: int) -> None:
        self.received += nbytes

    async def decode(self, model: str, epoch: int, request: str, frame: Frame) -> dict[str, Array]:
        assert isinstance(frame.header, Tensors)
        return unpack_tensors(frame.header.tensors, frame.payloads)

    def on_abort(self, peer: str, model: str, epoch: int, request: str, code: str, message: str) -> None:
        self.aborts.append((peer, model, epoch, request, code, message))

    def on_sent(self, peer: str, model: str, epoch: int, request: str, nbytes: int, seconds: float) -> None:
        self.sent.append((peer, request, nbytes, seconds))

    def on_undelivered(self, peer: str, model: str, epoch: int, request: str) -> None:
        self.undelivered.append((peer, request))

    def on_peer_up(self, peer: str) -> None:
        self.ups.append(peer)

    def on_peer_pressed(self, peer: str, pressed: bool) -> None:
        self.pressed.append((peer, pressed))

    def room_bytes(self) -> int | None:
        return self.room

    def on_peer_room(self, peer: str, nbytes: int | None) -> None:
        self.rooms.append((peer, nbytes))

    def on_peer_lost(self, peer: str, reason: str) -> None:
        self.lost.append((peer, reason))

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

    def __init__(self, node: str, emulation: Emulation, limits: Limits, listen: str, socket: str = "") -> None:
        self.handler = RecordingHandler()
        self.node = node
        self.data = DataPlane(
            node,
            "instance",
            "1",
            listen=listen,
            socket=socket,
            emulation=emulation,
            limits=limits,
            handler=self.handler,
        )
        self.address = ""

    def send(self, peer: str, request: str, arrays: Mapping[str, Array], codec: str = "raw") -> None:
        packed = [pack_tensor(name, array, codec) for name, array in arrays.items()]
        self.data.send_tensors(peer, model="m", epoch=3, request=request, tensors=packed, deadline_s=0.5)


@asynccontextmanager
async def plane(
    node: str,
    *,
    emulation: Emulation | None = None,
    limits: Limits = QUIET,
    listen: str = "127.0.0.1:0",
    socket: str = "",
) -> AsyncIterator[Plane]:
    made = Plane(node, emulation or Emulation(), limits, listen, socket)
    made.address = await made.data.start()
    try:
        yield made
    finally:
        await made.data.close()


async def eventually(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait for a condition; the bound is generous because time decides nothing."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def connected(first: Plane, second: Plane) -> None:
    """Connect `first` to `second`."""
    first.data.set_peers({second.node: second.address})
    await eventually(lambda: first.data.is_up(second.node))


class RawPeer:
    """Speaks bytes to an address."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = FrameParser(FrameLimits())
        self.frames: list[Frame] = []

    @classmethod
    async def connect(cls, address: str) -> RawPeer:
        host, port = address.split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def say(self, header: Header) -> None:
        self.writer.write(b"".join(encode_frame(header)))

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
