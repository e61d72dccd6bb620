"""TLS on a non-blocking socket: reads decrypt into the caller's memory, writes encrypt in batches.

Owns: what OpenSSL holds of a connection, and that nothing in there is forgotten. Its rule: whoever reads and writes it sees what a
plain non-blocking socket would show: bytes, `BlockingIOError`, the end of the stream. Not here: who waits for it to be ready
(`wire/connection.py`), who drives a handshake (`secured/handshake.py`), whom a certificate speaks for (`edgesplit.trust`).

`ssl.SSLSocket` makes two system calls for each record of 16 KiB that it reads and one for each that it writes, which costs more than
the cipher. Here OpenSSL works on memory; the kernel is asked once for `BATCH_BYTES`, each way.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator

from edgesplit.trust.subjects import PeerCertificate

__all__ = ["HandshakeStep", "SecureSocket"]

BATCH_BYTES = 1 << 17
"""Read from or written to the kernel at a time: more would leave the processor's cache before it is used again."""
RECORD_BYTES = 1 << 14
"""Most that a record of TLS holds (RFC 8446, 5.1)."""
_MOST_ANSWERS_BYTES = 1 << 14
"""Of TLS's own answers that wait to leave, to somebody who asks for new keys again and again."""


class HandshakeStep(enum.Enum):
    """What a handshake waits for."""

    NOTHING = "it is complete"
    READ = "bytes of the other side"
    WRITE = "room in the kernel"


class _Stages(threading.local):
    """Where encrypted bytes are read to; one for each thread, for nothing stays in it between two calls."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(BATCH_BYTES))


_STAGES = _Stages()


class SecureSocket:
    """One side of a TLS connection.

    Args:
        bare: Connected and non-blocking; this object's from now on.
        context: Of this side.
        server_side: Whether the other side connected.

    Attributes:
        bare: For options and addresses; nobody else may read or write it.
    """

    def __init__(self, bare: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.bare = bare
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=server_side)
        self._unsent = memoryview(b"")
        self._owed_bytes = 0
        self._ended = False
        self._is_shut = False

    def fileno(self) -> int:
        """Of the socket; -1 once it is closed."""
        return self.bare.fileno()

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """What the other side proved to be; None where it showed no certificate, or one that speaks for nobody."""
        return PeerCertificate.of(self._tls)

    @property
    def pending(self) -> bool:
        """Whether a read would find something that the kernel no longer tells of."""
        return not self._is_shut and bool(self._ended or self._arrived.pending or self._tls.pending())

    def shake_hands(self) -> HandshakeStep:
        """Take the handshake as far as it goes now.

        Raises:
            ssl.SSLError: It failed; the other side was told, as far as the kernel took it.
            OSError: The connection is of no use.
        """
        while True:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._push()
                raise
            try:
                self._push()
            except BlockingIOError:
                return HandshakeStep.WRITE
            if done:
                return HandshakeStep.NOTHING
            try:
                if not self._take_in():
                    raise ConnectionResetError("the connection was closed during the TLS handshake")
            except (BlockingIOError, InterruptedError):
                return HandshakeStep.READ

    def recv_into(self, memory: memoryview) -> int:
        """Decrypt into memory; 0 at the end of the stream, which is as good without TLS's own farewell: frames have lengths.

        A return of fewer bytes than there is memory says that nothing is left here.

        Raises:
            BlockingIOError: Nothing has arrived.
            ssl.SSLError: What arrived is not what the other side sent, or says that it refuses this side.
        """
        if self._is_shut:
            return self.bare.recv_into(memory)  # to be thrown away, encrypted as it is
        count = self._decrypted(memory)
        while not count and not self._ended:
            self._ended = not self._take_in()
            count = self._decrypted(memory)
        if self._leaving.pending > _MOST_ANSWERS_BYTES:
            raise ConnectionAbortedError("the other side asks for new keys and reads nothing")
        return count

    def sendmsg(self, buffers: Iterable[memoryview]) -> int:
        """Encrypt and hand to the kernel.

        Bytes that are encrypted and have not left are not counted; they must be offered again, first of all, as OpenSSL's own
        writing demands.

        Raises:
            BlockingIOError: The kernel takes no more.
        """
        self._push()
        sent, self._owed_bytes = self._owed_bytes, 0
        batch_bytes = 0
        for record in _records(buffers, sent):
            self._tls.write(record)
            batch_bytes += len(record)
            if batch_bytes >= BATCH_BYTES:
                if not self._leaves(batch_bytes):
                    break
                sent += batch_bytes
                batch_bytes = 0
        else:
            if batch_bytes and self._leaves(batch_bytes):
                sent += batch_bytes
        if self._owed_bytes and not sent:
            raise BlockingIOError
        return sent

    def shutdown(self, how: int) -> None:
        """Say farewell and end the stream of this side; what still arrives is of no interest."""
        if not self._is_shut:
            self._is_shut = True
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # waits for the other's farewell by its raising SSLWantReadError
            with contextlib.suppress(BlockingIOError):
                self._push()
        self.bare.shutdown(how)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Of the socket."""
        self.bare.setsockopt(level, option, value)

    def close(self) -> None:
        """Give the socket back, saying nothing."""
        self.bare.close()

    def _take_in(self) -> int:
        """Read what the kernel has; 0 at the end of the stream."""
        stage = _STAGES.memory
        count = self.bare.recv_into(stage)
        self._arrived.write(stage[:count])
        return count

    def _decrypted(self, memory: memoryview) -> int:
        count, size = 0, len(memory)
        while count < size and (self._arrived.pending or self._tls.pending()):
            try:
                taken = self._tls.read(size - count, memory[count:])
            except ssl.SSLWantReadError:
                break  # half a record
            if not taken:
                self._ended = True
                break
            count += int(taken)
        return count

    def _push(self) -> None:
        """Hand the kernel what is encrypted already; raises BlockingIOError where it does not take it all."""
        while self._unsent or self._leaving.pending:
            if not self._unsent:
                self._unsent = memoryview(self._leaving.read())
            self._unsent = self._unsent[self.bare.send(self._unsent) :]

    def _leaves(self, nbytes: int) -> bool:
        """Hand a batch to the kernel; False where it does not take it all, which then is owed. [B]"""
        try:
            self._push()
        except BlockingIOError:
            self._owed_bytes = nbytes
            return False
        return True


def _records(buffers: Iterable[memoryview], skipped_bytes: int) -> Iterator[memoryview | bytes]:
    """Cut into records; small buffers are joined, large ones only referred to."""
    gathered: list[memoryview] = []
    gathered_bytes = 0
    for buffer in buffers:
        rest = buffer[skipped_bytes:]
        skipped_bytes = max(skipped_bytes - len(buffer), 0)
        while rest:
            piece = rest[: RECORD_BYTES - gathered_bytes]
            rest = rest[len(piece) :]
            if len(piece) == RECORD_BYTES:
                yield piece
                continue
            gathered.append(piece)
            gathered_bytes += len(piece)
            if gathered_bytes == RECORD_BYTES:
                yield b"".join(gathered)
                gathered, gathered_bytes = [], 0
    if gathered:
        yield b"".join(gathered)
