"""How long an agent takes to take something in, asked a hundred times a second by a process of its own.

Owns: pings over a connection as a client's, and the handle of the process (`Pings`). Its rule: a ping waits for nothing
but the agent's turn, as a request does between its arrival and its start. Not here: what is made of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from edgesplit.release import PROTOCOL
from edgesplit.wire.frames import FrameLimits, encode_frame
from edgesplit.wire.headers import Header, Hello, Ping, Pong
from edgesplit.wire.parser import FrameParser

__all__ = ["Pings", "main"]

INTERVAL_S = 0.01
PATIENCE_S = 30.0
PRIORITY = -20


class Pings:
    """The process; a context manager that ends it.

    Args:
        address: The agent's host:port.
        folder: For its record.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self._record = folder / "pings.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.pings", "--address", address, "--record", str(self._record)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[1],
            env={key: value for key, value in os.environ.items() if not key.startswith("EDGESPLIT_")},
        )

    def stop(self) -> list[tuple[float, float]]:
        """When each ping left and how long its answer took, on the monotonic clock. [s]"""
        self._process.terminate()
        self._process.wait()
        lines = self._record.read_text(encoding="ascii").splitlines()
        pairs = [line.split() for line in lines if line.endswith(";")]
        return [(float(at), float(took.rstrip(";"))) for at, took in pairs]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class _Line:
    """A plain socket that speaks frames, one question at a time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = FrameParser(FrameLimits())
        hello = Hello(protocol=PROTOCOL, role="client", node="", version="bench", instance="pings")
        self.ask(hello, Hello)

    def ask(self, header: Header, kind: type[Header]) -> None:
        """Send and wait for an answer of this kind."""
        self._socket.sendall(b"".join(encode_frame(header)))
        while True:
            count = self._socket.recv_into(self._parser.buffer())
            if not count:
                raise ConnectionError("the agent closed the connection")
            if any(isinstance(frame.header, kind) for frame in self._parser.received(count)):
                return


@click.command()
@click.option("--address", required=True, help="The agent's host:port.")
@click.option("--record", required=True, type=click.Path(path_type=Path))
def main(address: str, record: Path) -> None:
    """Ping until SIGTERM."""
    # Where that is allowed, this process goes first: what is measured is the agent's turn, not the wait for a core here.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    line = _Line(address)
    with record.open("w", encoding="ascii", buffering=1) as file:
        number = 0
        while True:
            number += 1
            sent_s = time.monotonic()
            line.ask(Ping(sequence=number), Pong)
            file.write(f"{sent_s:.6f} {time.monotonic() - sent_s:.6f};\n")
            time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()
