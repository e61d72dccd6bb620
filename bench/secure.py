"""What TLS costs on the data plane, side by side: tensors over TLS against the same in the clear, and small requests.

Owns: the two ends, the pacing, the table. Its rule: both ways go through real `Connection`s between two processes, in turn within one
run, so that whatever else the machine does meets both; figures are medians, and ratios of them. Not here: how TLS is done
(`shared/edgesplit/wire/secured`).

A transfer's time is from handing the tensor over until its acknowledgement has come back. The paced link is the kernel's own pacing
of the sender (SO_MAX_PACING_RATE, which TCP keeps on any interface); it paces what is on the wire, TLS's own bytes too.

    python -m bench.secure
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import shutil
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import numpy as np

from edgesplit.errors import EdgesplitError
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.tls import TlsContexts
from edgesplit.wire.connection import Connection
from edgesplit.wire.endpoints import serve
from edgesplit.wire.frames import Frame, FrameLimits, pack_tensors
from edgesplit.wire.headers import Ack, Infer, Result, Tensors
from edgesplit.wire.secured.handshake import shake_hands
from edgesplit.wire.secured.reception import SecuredPort
from edgesplit.wire.secured.secure_socket import SecureSocket
from edgesplit.wire.tensors import Array
from tests.trust.authorities import MadeAuthority

__all__ = ["main"]

QUEUE_BYTES = 1 << 28
SIZES = (4_700_000, 37_500_000)
SMALL_BYTES = 1000
PACED_BYTES_PER_S = 100_000_000
SO_MAX_PACING_RATE = 47
"""asm-generic/socket.h; Python has no name for it."""
PROCESSOR_ROUNDS = 8
LEAST_LOOPBACK, LEAST_PACED, MOST_ADDED_S = 0.5, 0.95, 0.00015


class _Echo:
    """The other end: acknowledges tensors, and answers requests with what they hold. Admits everybody."""

    def on_opened(self, connection: Connection) -> None:
        """Nothing has to be said."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        header = frame.header
        if isinstance(header, Tensors):
            connection.send(Ack(sequence=header.sequence), urgent=True)
        elif isinstance(header, Infer):
            connection.send(Result(id=header.id, epoch=1, tensors=header.tensors), frame.payloads)

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """Another one comes."""

    def admits(self, host: str) -> bool:
        del host
        return True

    def exhausted(self, error: OSError) -> None:
        raise error

    def turned_away(self, kind: str, host: str, reason: str) -> None:
        raise RuntimeError(f"{host}: {reason}")


class _Asker:
    """This end: one connection, one thing at a time."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def on_opened(self, connection: Connection) -> None:
        """Nothing has to be said."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        self.answered.set()

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        if reason is not None:
            raise reason


def _serve(pipe: Pipe, folder: Path) -> None:
    async def run() -> None:
        echo, contexts = _Echo(), TlsContexts.load(TrustFiles.of(folder))
        port = SecuredPort(contexts.open_server, echo)
        listener, address = await serve(
            "127.0.0.1:0", echo, limits=FrameLimits(), queue_bytes=QUEUE_BYTES, secured=port
        )
        pipe.send(address)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, pipe.recv):
            pipe.send(_processor_s())
        listener.close()

    asyncio.run(run())


def _processor_s() -> float:
    """Of this process so far, all threads. [s]"""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class _Way:
    """A connection to the other end, plain or secured."""

    def __init__(self, connection: Connection, asker: _Asker) -> None:
        self._connection = connection
        self._asker = asker

    @classmethod
    async def open(cls, address: str, context: ssl.SSLContext | None, *, paced: bool) -> _Way:
        host, _, port = address.rpartition(":")
        bare = socket.create_connection((host, int(port)))
        bare.setblocking(False)
        if paced:
            bare.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, PACED_BYTES_PER_S)
        own: socket.socket | SecureSocket = bare
        if context is not None:
            own = SecureSocket(bare, context, server_side=False)
            await shake_hands(own)
        asker = _Asker()
        connection = Connection(own, asker, limits=FrameLimits(), queue_bytes=QUEUE_BYTES)
        connection.start()
        return cls(connection, asker)

    async def transfer_s(self, array: Array) -> float:
        """From handing a tensor over until it is acknowledged. [s]"""
        heads, payloads = pack_tensors([("x", array, "raw")])
        return await self._answered_s(Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads), payloads)

    async def request_s(self, array: Array) -> float:
        """A request until its answer. [s]"""
        heads, payloads = pack_tensors([("x", array, "raw")])
        return await self._answered_s(Infer(id=1, model="m", tensors=heads), payloads)

    async def _answered_s(self, header: Tensors | Infer, payloads: tuple[Array, ...]) -> float:
        self._asker.answered.clear()
        begun_s = time.perf_counter()
        self._connection.send(header, payloads)
        await self._asker.answered.wait()
        return time.perf_counter() - begun_s

    async def close(self) -> None:
        self._connection.close()
        await self._connection.wait_closed()


@dataclass
class _Pair:
    """Both ways of one comparison."""

    plain: list[float]
    secure: list[float]

    @property
    def medians(self) -> tuple[float, float]:
        """In the clear, over TLS. [s]"""
        return statistics.median(self.plain), statistics.median(self.secure)


async def _compare(
    address: str, context: ssl.SSLContext, act: Callable[[_Way], Awaitable[float]], rounds: int, *, paced: bool = False
) -> _Pair:
    plain = await _Way.open(address, None, paced=paced)
    secure = await _Way.open(address, context, paced=paced)
    for way in (plain, secure):
        for _ in range(2):
            await act(way)  # windows grow, memory is taken
    pair = _Pair([], [])
    for _ in range(rounds):
        pair.plain.append(await act(plain))
        pair.secure.append(await act(secure))
    await plain.close()
    await secure.close()
    return pair


async def _measure(address: str, pipe: Pipe, context: ssl.SSLContext, rounds: int) -> bool:
    print(f"{os.cpu_count()} processors, {ssl.OPENSSL_VERSION}, load {os.getloadavg()[0]:.1f}")
    kept = True
    for paced in (False, True):
        for nbytes in SIZES:
            tensor = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
            pair = await _compare(address, context, partial(_Way.transfer_s, array=tensor), rounds, paced=paced)
            plain_s, secure_s = pair.medians
            ratio, least = plain_s / secure_s, LEAST_PACED if paced else LEAST_LOOPBACK
            kept &= ratio >= least
            link = f"paced at {PACED_BYTES_PER_S / 1e6:g} MB/s" if paced else "loopback"
            print(
                f"{nbytes / 1e6:5.1f} MB, {link:18} plain {nbytes / plain_s / 1e6:6.0f} MB/s, TLS {nbytes / secure_s / 1e6:6.0f} MB/s: "
                f"{ratio:.2f} of plain (at least {least:g})"
            )
    small = np.zeros(SMALL_BYTES, np.uint8)
    plain_s, secure_s = (await _compare(address, context, partial(_Way.request_s, array=small), 40 * rounds)).medians
    added_s = secure_s - plain_s
    kept &= added_s <= MOST_ADDED_S
    print(
        f"{SMALL_BYTES} B requests: plain {1e3 * plain_s:.3f} ms, TLS {1e3 * secure_s:.3f} ms: "
        f"{1e3 * added_s:+.3f} ms (at most {1e3 * MOST_ADDED_S:g})"
    )
    await _tell_processor_time(address, pipe, context)
    return kept


async def _tell_processor_time(address: str, pipe: Pipe, context: ssl.SSLContext) -> None:
    """Where the time goes: of sender and receiver, which bounds the ratio where both have a processor of their own."""
    tensor = np.random.default_rng(0).integers(0, 256, SIZES[1], np.uint8)
    for name, used in (("plain", None), ("TLS", context)):
        way = await _Way.open(address, used, paced=False)
        await way.transfer_s(tensor)
        before_s = (_processor_s(), _asked(pipe))
        for _ in range(PROCESSOR_ROUNDS):
            await way.transfer_s(tensor)
        spent = [after_s - begun_s for after_s, begun_s in zip((_processor_s(), _asked(pipe)), before_s, strict=True)]
        sender, receiver = (1e9 * each / (PROCESSOR_ROUNDS * SIZES[1]) for each in spent)
        print(f"processor time, {name:5}: sender {sender:.2f} s/GB, receiver {receiver:.2f} s/GB")
        await way.close()


def _asked(pipe: Pipe) -> float:
    pipe.send(True)
    answer: float = pipe.recv()
    return answer


def main() -> None:
    """Print the table; exits 1 where a figure misses its aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="transfers of each size, each way (15)")
    rounds: int = parser.parse_args().rounds
    authority, folder = MadeAuthority(), Path(tempfile.mkdtemp(prefix="edgesplit-secure-"))
    try:
        here = TlsContexts.load(authority.files(folder / "here", uri="edgesplit://node/here"))
        authority.files(folder / "there", uri="edgesplit://node/there")
        multiprocess = multiprocessing.get_context("spawn")
        pipe, other = multiprocess.Pipe()
        process = multiprocess.Process(target=_serve, args=(other, folder / "there"), daemon=True)
        process.start()
        kept = asyncio.run(_measure(pipe.recv(), pipe, here.client, rounds))
        pipe.send(False)
        process.join()
    finally:
        shutil.rmtree(folder)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
