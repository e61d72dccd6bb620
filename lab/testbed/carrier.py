"""The runner's end of the process that carries packets.

Owns: starting it, telling it, ending it. Its rule: what it refuses is raised here, with its own words. Not here: the
process (`links.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.testbed.links import ShapedWire
from lab.testbed.requirements import TestbedUnavailable

__all__ = ["carrier", "tell"]

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def carrier(wires: Sequence[ShapedWire]) -> Generator[subprocess.Popen[str]]:
    """The process, with its links made; it ends when its standard input does.

    Raises:
        TestbedUnavailable: A link cannot be made.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.testbed.links"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,  # Ctrl-C must not take the links away before the agents
    )
    try:
        tell(process, f"[{', '.join(wire.to_json() for wire in wires)}]")
        yield process
    finally:
        process.communicate()


def tell(process: subprocess.Popen[str], line: str) -> Mapping[str, object]:
    """Send one line; the answer to it.

    Raises:
        TestbedUnavailable: It refused, or has ended.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answered = process.stdout.readline()
    answer: Mapping[str, object] = json.loads(answered) if answered else {"error": "the process ended"}
    if "error" in answer:
        raise TestbedUnavailable(f"the links between namespaces cannot be made or changed: {answer['error']}")
    return answer
