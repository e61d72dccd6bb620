"""Which tests may be left out, and what becomes of every other skip.

In CI a skip that is not listed here fails the run: a test that is never run proves nothing and nobody notices. Elsewhere
each is named with its reason at the end of `make test` (tests/all.sh), whose processes write to the file that
EDGESPLIT_SKIPS names.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["ALLOWED", "Skip", "allowed_because", "told", "unexpected"]

ALLOWED = (
    (r"could not import '(torch|onnxscript)'", "make test-torch runs it, in an environment of its own"),
    (r"^needs root$", "make test-systemd, make test-docker and make test-testbed run it"),
    (r"(\.onnx is not t?here|^the reference problems are not beside this checkout)$", "models that are not shipped"),
    (r"^RestartSteps= needs systemd 254$", "the drop-in is for later systemd"),
    (r"^systemd-analyze is not installed$", "containers come without systemd"),
)
"""Patterns of a skip's reason, and why it may be."""


class Skip(NamedTuple):
    """A test that was left out."""

    test: str
    reason: str


def allowed_because(skip: Skip) -> str:
    """Why this test may be left out; empty where it may not be."""
    return next((why for pattern, why in ALLOWED if re.search(pattern, skip.reason)), "")


def unexpected(skips: Iterable[Skip]) -> list[Skip]:
    """Those that may not be left out in CI."""
    return [skip for skip in skips if not allowed_because(skip)]


def told(skips: Iterable[Skip]) -> list[str]:
    """A line for each reason: how many tests, of which files, why, and why it may be."""
    of_reason: dict[str, list[Skip]] = {}
    for skip in skips:
        of_reason.setdefault(skip.reason, []).append(skip)
    lines = []
    for reason, found in of_reason.items():
        files = ", ".join(sorted({skip.test.split("::", maxsplit=1)[0] for skip in found}))
        lines.append(f"{len(found)} in {files}: {reason} ({allowed_because(found[0]) or 'not allowed in CI'})")
    return lines


def main(file: Path) -> int:
    """Print what several runs of pytest wrote into the file; the exit status."""
    # Each process of a run tells of the tests that it collected.
    skips = [Skip(*line.split("\t", maxsplit=1)) for line in dict.fromkeys(file.read_text().splitlines())]
    print(f"tests left out: {len(skips)}")  # noqa: T201  # the summary of make test
    for line in told(skips):
        print(f"  {line}")  # noqa: T201
    return int(bool(os.environ.get("CI")) and bool(unexpected(skips)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
