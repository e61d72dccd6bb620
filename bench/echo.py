"""A process that answers bytes with bytes over a plain socket: the least that a request to another process can cost.

Owns: `Echo`. Its rule: blocking sockets, `sendmsg` and `recv_into`, memory taken once. Not here: what it is compared to.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from multiprocessing.connection import Connection as Pipe

from demo.fleet import free_port

__all__ = ["Echo"]

_JOIN_S = 5.0


class Echo:
    """Requests of `nbytes` each, answered with as many; a context manager that ends the other process."""

    def __init__(self, nbytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._memory = memoryview(bytearray(nbytes))
        here, there = context.Pipe()
        port = free_port()
        self._process = context.Process(target=_answer, args=(there, port, nbytes), daemon=True)
        self._process.start()
        there.close()
        here.recv()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.join(_JOIN_S)
        self._process.kill()

    def round_trip_s(self) -> float:
        """There and back. [s]"""
        started = time.perf_counter()
        self._socket.sendall(self._memory)
        _fill(self._socket, self._memory)
        return time.perf_counter() - started


def _answer(pipe: Pipe, port: int, nbytes: int) -> None:
    memory = memoryview(bytearray(nbytes))
    with socket.create_server(("127.0.0.1", port)) as listening:
        pipe.send("listening")
        peer, _ = listening.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while _fill(peer, memory):
        peer.sendall(memory)


def _fill(peer: socket.socket, memory: memoryview) -> bool:
    """Fill the memory; False when the other side has closed."""
    while memory:
        count = peer.recv_into(memory)
        if not count:
            return False
        memory = memory[count:]
    return True
