"""The table of what a root test has shown, printed at its end.

Owns: the rows and their layout. Its rule: a row is added only after its claim held. Not here: the claims.
"""

from __future__ import annotations

__all__ = ["Proofs"]


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
        print("\n".join(["", "", f"{title}:", *lines, ""]), flush=True)
