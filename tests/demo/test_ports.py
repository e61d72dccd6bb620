"""Ports for processes that are about to start: given once, across the processes of a machine."""

from __future__ import annotations

import subprocess
import sys

from demo.ports import LOWEST, free_port, kernels_own

GIVES = """
import sys
from demo import ports
ports.random.sample = lambda found, count: [int(sys.argv[1])]
try:
    print(ports.free_port())
except OSError as error:
    print(error)
"""


def given_elsewhere(port: int) -> str:
    """What another process is given that asks for this port alone."""
    return subprocess.run(
        [sys.executable, "-c", GIVES, str(port)], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_a_port_is_given_once_also_to_other_processes_and_again_once_its_process_has_ended() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(LOWEST <= port < max(kernels_own(), LOWEST + 1) or kernels_own() <= LOWEST + 1_000 for port in ports)
    assert given_elsewhere(ports[0]) == "no TCP port of loopback is free"
    other = next(port for port in range(LOWEST, LOWEST + 1_000) if given_elsewhere(port) == str(port))
    assert given_elsewhere(other) == str(other)
