"""Bytes over a link of the testbed, timed where they arrive."""

from __future__ import annotations

import subprocess
import sys

from lab.testbed.testbed import Testbed

__all__ = ["received_in"]

RECEIVE = """
import socket, sys, time
server = socket.create_server(("0.0.0.0", 7999))
print("listening", flush=True)
connection, _ = server.accept()
left, begin = int(sys.argv[1]), time.monotonic()
while left:
    received = connection.recv(min(left, 1 << 20))
    if not received:
        break
    left -= len(received)
print(time.monotonic() - begin)
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7999)) as connection:
    connection.sendall(bytes(int(sys.argv[2])))
    connection.recv(1)
"""


def received_in(testbed: Testbed, source: str, target: str, nbytes: int, *, timeout_s: float = 30.0) -> float:
    """Seconds from the connection to the last byte. [s]

    Raises:
        subprocess.TimeoutExpired: They did not arrive.
    """
    address = testbed.fleet.places[target].host
    receiver = subprocess.Popen(
        [*testbed.command(target), sys.executable, "-c", RECEIVE, str(nbytes)], stdout=subprocess.PIPE, text=True
    )
    assert receiver.stdout is not None
    receiver.stdout.readline()
    sender = subprocess.Popen([*testbed.command(source), sys.executable, "-c", SEND, address, str(nbytes)])
    try:
        answer, _ = receiver.communicate(timeout=timeout_s)
    finally:
        for process in (receiver, sender):
            process.kill()
            process.wait()
    return float(answer)
