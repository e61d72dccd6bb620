"""Processes that answer bytes over plain sockets: the least that a request to another process can cost.

Owns: `PlainServer`. Its rule: blocking sockets, `sendall` and `recv_into`, memory taken once, one request at a time; between
receiving and sending a server may compute, for a processor that had nothing to do meanwhile is slower to take and to give.
Not here: what it is compared to.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np

from demo.ports import free_port
from edgesplit_agent.compute.session_pool import RuntimeOptions, open_session

__all__ = ["PlainServer", "Step"]

_JOIN_S = 5.0


@dataclass(frozen=True)
class Step:
    """A graph of one input and one output, both of as many bytes as a request.

    Attributes:
        path: ONNX file.
        shape: Of the float input.
    """

    path: Path
    input: str
    output: str
    shape: tuple[int, ...]


class PlainServer:
    """Requests of `nbytes` each, answered with as many; a context manager that ends its process.

    Args:
        nbytes: Of a request, of its answer, and of what goes onward. [B]
        steps: Computed one after another, under the session options that agents use; none for an echo.
        onward: Port of another one; what the first step yields goes there and comes back before the others.
    """

    def __init__(self, nbytes: int, steps: Sequence[Step] = (), onward: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._request = memoryview(np.random.default_rng(0).random(nbytes // 4, np.float32).view(np.uint8).data)
        self._answer = memoryview(bytearray(nbytes))
        here, there = context.Pipe()
        self.port = free_port()
        self._process = context.Process(
            target=_serve, args=(there, self.port, nbytes, list(steps), onward), daemon=True
        )
        self._process.start()
        there.close()
        here.recv()
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process.pid is not None
        return self._process.pid

    def __enter__(self) -> PlainServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._process.join(_JOIN_S)
        self._process.kill()

    def round_trip_s(self) -> float:
        """There and back. [s]"""
        if self._socket is None:
            self._socket = _connected(self.port)
        started = time.perf_counter()
        self._socket.sendall(self._request)
        _fill(self._socket, self._answer)
        return time.perf_counter() - started


def _connected(port: int) -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", port))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _serve(pipe: Pipe, port: int, nbytes: int, steps: list[Step], onward: int | None) -> None:
    memory = memoryview(bytearray(nbytes))
    sessions = [open_session(step.path, RuntimeOptions(threads=1)) for step in steps]
    with socket.create_server(("127.0.0.1", port)) as listening:
        other = None if onward is None else _connected(onward)
        pipe.send("listening")
        peer, _ = listening.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while _fill(peer, memory):
        answer = memory
        for number, (step, session) in enumerate(zip(steps, sessions, strict=True)):
            if number == 1 and other is not None:
                other.sendall(answer)
                _fill(other, memory)
                answer = memory
            answer = _computed(session, step, answer)
        peer.sendall(answer)


def _computed(session: Any, step: Step, memory: memoryview) -> memoryview:
    array = np.frombuffer(memory, np.float32).reshape(step.shape)
    (output,) = session.run([step.output], {step.input: array})
    return memoryview(output.reshape(-1).view(np.uint8).data)


def _fill(peer: socket.socket, memory: memoryview) -> bool:
    """Fill the memory; False when the other side has closed."""
    while memory:
        count = peer.recv_into(memory)
        if not count:
            return False
        memory = memory[count:]
    return True
