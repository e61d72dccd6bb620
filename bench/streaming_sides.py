"""The two ends of a tensor stream, each a process of its own: through the data plane, and over plain sockets.

Owns: `Stream` and what runs inside its processes. Its rule: both ways send the same bytes from one numpy array into
freshly received arrays, frame after frame, and each end reports the processor time of its own process. Not here: the
comparison (`streaming.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import resource
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any, Literal

import numpy as np

from demo.ports import free_port
from edgesplit.wire.frames import encode_frame, pack_tensor, pack_tensors, unpack_tensors
from edgesplit.wire.headers import ExecutionKey, TensorHead, Tensors
from edgesplit.wire.tensors import Array, as_bytes
from edgesplit_agent.dataplane.emulation import Emulation
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.plane import DataPlane
from edgesplit_agent.serving.machine.events import MachineEvent, PeerLost, TensorsArrived

__all__ = ["Round", "Stream", "Way"]

Way = Literal["plain", "plane"]
WINDOW_FRAMES = 4
"""Frames that the data plane's sender keeps queued, so that the link never waits for it."""
LARGE = "large"
"""The request that all frames but those of 1 kB belong to."""
PAUSE_S = 0.02
"""Between small frames. [s]"""
_JOIN_S = 5.0


@dataclass(frozen=True)
class Round:
    """One run of frames.

    Attributes:
        bytes_per_s: Of tensors. [B/s]
        sender_s_per_byte: Processor time. [s/B]
        receiver_s_per_byte: Processor time. [s/B]
    """

    bytes_per_s: float
    sender_s_per_byte: float
    receiver_s_per_byte: float

    @property
    def processor_s_per_byte(self) -> float:
        """Of both ends. [s/B]"""
        return self.sender_s_per_byte + self.receiver_s_per_byte


@dataclass(frozen=True)
class Order:
    """What both ends are to do.

    Attributes:
        frames: Of `nbytes`; with `small`, of 1 kB, sent while frames of `nbytes` stream.
    """

    nbytes: int
    frames: int
    small: bool = False


class Stream:
    """A sender and a receiver that stay connected; a context manager that ends both.

    Args:
        way: `plane` for two `DataPlane`s, `plain` for `sendmsg` and `recv_into` on blocking sockets.
    """

    def __init__(self, way: Way) -> None:
        context = multiprocessing.get_context("spawn")
        port = free_port()
        ends: tuple[Callable[[Pipe, int], None], ...] = (
            (_plane_receiver, _plane_sender) if way == "plane" else (_plain_receiver, _plain_sender)
        )
        self._pipes: list[Pipe] = []
        self._processes = []
        for end in ends:
            here, there = context.Pipe()
            process = context.Process(target=end, args=(there, port), daemon=True)
            process.start()
            there.close()
            here.recv()  # it listens, or is connected
            self._pipes.append(here)
            self._processes.append(process)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(_JOIN_S)
            process.kill()

    def run(self, nbytes: int, frames: int) -> Round:
        """Send so many frames of one tensor and wait until the last has arrived."""
        for pipe in self._pipes:
            pipe.send(Order(nbytes, frames))
        receiver_s, seconds = self._pipes[0].recv()
        sender_s, _ = self._pipes[1].recv()
        total = nbytes * frames
        return Round(total / seconds, sender_s / total, receiver_s / total)

    def waits(self, nbytes: int, frames: int) -> list[float]:
        """Seconds from sending a tensor of 1 kB to its acknowledgement, while frames of `nbytes` stream; 0: none do.

        Only for `plane`.
        """
        for pipe in self._pipes:
            pipe.send(Order(nbytes, frames, small=True))
        self._pipes[0].recv()
        found: list[float] = self._pipes[1].recv()
        return found


# --- plain sockets -------------------------------------------------------------------------------------------------------


def _plain_receiver(pipe: Pipe, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listening:
        pipe.send("listening")
        peer, _ = listening.accept()
    head = bytearray(len(_frame(np.zeros(1, np.uint8))[0]))
    while (order := pipe.recv()) is not None:
        nbytes, frames = order.nbytes, order.frames
        head = bytearray(len(_frame(np.zeros(nbytes, np.uint8))[0]))
        _fill(peer, memoryview(head))
        started, busy = time.perf_counter(), _processor_s()
        for index in range(frames):
            if index:
                _fill(peer, memoryview(head))
            _fill(peer, as_bytes(np.empty(nbytes, np.uint8)))
        pipe.send((_processor_s() - busy, time.perf_counter() - started))


def _fill(peer: socket.socket, memory: memoryview) -> None:
    while memory:
        memory = memory[peer.recv_into(memory) :]


def _plain_sender(pipe: Pipe, port: int) -> None:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pipe.send("connected")
    while (order := pipe.recv()) is not None:
        nbytes, frames = order.nbytes, order.frames
        tensor = np.ones(nbytes, np.uint8)
        started, busy = time.perf_counter(), _processor_s()
        for _ in range(frames):
            buffers = _frame(tensor)
            while buffers:
                sent = peer.sendmsg(buffers)
                while buffers and sent >= buffers[0].nbytes:
                    sent -= buffers.pop(0).nbytes
                if buffers:
                    buffers[0] = buffers[0][sent:]
        pipe.send((_processor_s() - busy, time.perf_counter() - started))


def _frame(tensor: Array) -> list[memoryview]:
    """The buffers of a frame as the data plane lays them out."""
    heads, payloads = pack_tensors([("x", tensor, "raw")])
    return encode_frame(Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads), payloads)


# --- the data plane ------------------------------------------------------------------------------------------------------


@dataclass
class _Counting:
    """The agent's side of a data plane that only counts."""

    arrived: int = 0
    acknowledged: int = 0
    begun: int = 0
    lost: str = ""
    requests: set[str] = field(default_factory=set[str])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def emit(self, event: MachineEvent) -> None:
        if isinstance(event, TensorsArrived):
            self.arrived += 1
        elif isinstance(event, PeerLost):
            self.lost = f"{event.peer} was lost: {event.reason}"
        self.changed.set()

    def received(self, nbytes: int) -> None:
        """Frames are counted, and their bytes are known."""

    def sent(self, peer: str, key: ExecutionKey, nbytes: int, seconds: float) -> None:
        del peer, nbytes, seconds
        self.acknowledged += key.request == LARGE
        self.requests.add(key.request)
        self.changed.set()

    def probed(self, peer: str, nbytes: int) -> None:
        raise RuntimeError("nothing is probed here")

    def has_part(self) -> bool:
        """As after a plan."""
        return True

    def room_bytes(self) -> int | None:
        return None

    async def decode(
        self, key: ExecutionKey, heads: Sequence[TensorHead], payloads: Sequence[Array]
    ) -> dict[str, Array]:
        del key
        return unpack_tensors(heads, payloads)

    def ask(self, *_: Any) -> Callable[[], None]:
        raise RuntimeError("nobody asks here")

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.lost:
                raise RuntimeError(self.lost)
            self.changed.clear()
            await self.changed.wait()

    async def until_has(self, request: str) -> None:
        await self.until(lambda: request in self.requests)

    async def until_arrived(self, count: int) -> None:
        await self.until(lambda: self.arrived >= count)

    async def until_acknowledged(self, count: int) -> None:
        await self.until(lambda: self.acknowledged >= count)


def _plane_receiver(pipe: Pipe, port: int) -> None:
    asyncio.run(_receive(pipe, port))


async def _receive(pipe: Pipe, port: int) -> None:
    handler = _Counting()
    plane = _plane("receiver", f"127.0.0.1:{port}", handler)
    await plane.start()
    pipe.send("listening")
    while (order := await asyncio.to_thread(pipe.recv)) is not None:
        started, busy = time.perf_counter(), _processor_s()
        if not order.small:
            await handler.until_arrived(handler.arrived + order.frames)
        pipe.send((_processor_s() - busy, time.perf_counter() - started))
    await plane.close()


def _plane_sender(pipe: Pipe, port: int) -> None:
    asyncio.run(_send(pipe, port))


async def _send(pipe: Pipe, port: int) -> None:
    handler = _Counting()
    plane = _plane("sender", "127.0.0.1:0", handler)
    await plane.start()
    plane.set_peers({"receiver": f"127.0.0.1:{port}"})
    await handler.until(lambda: plane.is_up("receiver"))
    pipe.send("connected")
    while (order := await asyncio.to_thread(pipe.recv)) is not None:
        tensor = np.ones(order.nbytes, np.uint8)
        if order.small:
            pipe.send(await _waits(plane, handler, tensor, order.frames))
            continue
        started, busy, before = time.perf_counter(), _processor_s(), handler.acknowledged
        for number in range(order.frames):
            await handler.until_acknowledged(before + number + 1 - WINDOW_FRAMES)
            _send_frame(plane, handler, tensor, LARGE)
        await handler.until_acknowledged(before + order.frames)
        pipe.send((_processor_s() - busy, time.perf_counter() - started))
    await plane.close()


async def _waits(plane: DataPlane, handler: _Counting, large: Array, count: int) -> list[float]:
    small = np.ones(1024, np.uint8)
    streaming = asyncio.create_task(_stream_for_ever(plane, handler, large)) if large.size else None
    waits: list[float] = []
    for number in range(count):
        await asyncio.sleep(PAUSE_S)
        started, name = time.perf_counter(), f"small-{number}"
        _send_frame(plane, handler, small, name)
        await handler.until_has(name)
        waits.append(time.perf_counter() - started)
    if streaming is not None:
        streaming.cancel()
        # What is still on its way must not reach into the next order.
        await handler.until_acknowledged(handler.begun)
    return waits


async def _stream_for_ever(plane: DataPlane, handler: _Counting, large: Array) -> None:
    """Keep some large frames waiting, so that a small one finds them before it."""
    before = handler.acknowledged
    for number in itertools.count():
        await handler.until_acknowledged(before + number + 1 - WINDOW_FRAMES)
        _send_frame(plane, handler, large, LARGE)


def _send_frame(plane: DataPlane, handler: _Counting, tensor: Array, request: str) -> None:
    handler.begun += request == LARGE
    plane.send_tensors("receiver", ExecutionKey("m", 1, request), [pack_tensor("x", tensor)])


def _plane(node: str, listen: str, handler: _Counting) -> DataPlane:
    # Probes would be measured along; on a link with traffic the agent sends none either.
    return DataPlane(
        node,
        node,
        "bench",
        listen=listen,
        emulation=Emulation(),
        limits=Limits(probing=False),
        emit=handler.emit,
        host=handler,
        counters=handler,
    )


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
