"""What a root test says to whoever watches it: progress of slow steps, and at the end the table of what was shown.

Owns: the rows and their layout. Its rule: a row is added only after its claim held. Not here: the claims.
"""

from __future__ import annotations

import sys

__all__ = ["Proofs", "say"]


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Proofs:
    """What was proven."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str]] = []

    def add(self, claim: str, evidence: str) -> None:
        """Note a claim that held."""
        self._rows.append((claim, evidence))

    def show(self, title: str) -> None:
        """Print all of them, one a line."""
        width = max((len(claim) for claim, _ in self._rows), default=0)
        lines = [f"  {claim:<{width}}  {evidence}" for claim, evidence in self._rows]
        say("\n".join(["", "", f"{title}:", *lines, ""]))
