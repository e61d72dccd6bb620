"""Which peers requests may rely on: those that came back have to stay for a while first.

Owns: losses of each peer and how long a returned one is on probation. Its rule: pure; a peer that was never lost is
trusted at once, one that keeps coming and going is trusted later each time. Not here: which plan that means
(`serving/machine/epochs.py`), noticing a loss (`dataplane/liveness.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PeerTrust"]

LONGEST_FACTOR = 16
"""The longest probation over the first one. [1]"""
FORGIVEN_FACTOR = 15
"""A peer that stayed for so many first probations is as if it had never been lost. [1]"""


@dataclass(slots=True)
class _Record:
    """Of a peer that was lost.

    Attributes:
        losses: In a row, none of them forgiven.
        trusted_at_s: When its probation ends; infinite while it is away. [s]
    """

    losses: int = 0
    up_at_s: float = 0.0
    trusted_at_s: float = float("inf")


class PeerTrust:
    """The peers of one node.

    Args:
        stable_after_s: Probation after a first loss, doubled with each that follows. [s]
    """

    def __init__(self, stable_after_s: float) -> None:
        self._first_s = stable_after_s
        self._records: dict[str, _Record] = {}

    def lost(self, peer: str, now_s: float) -> None:
        """A peer does not answer any more."""
        record = self._records.setdefault(peer, _Record())
        stayed = record.trusted_at_s <= now_s and now_s - record.up_at_s >= FORGIVEN_FACTOR * self._first_s
        record.losses = 1 if stayed else record.losses + 1
        record.trusted_at_s = float("inf")

    def up(self, peer: str, now_s: float) -> float:
        """A peer answers; how long it is on probation now. [s]"""
        record = self._records.get(peer)
        if record is None:
            return 0.0
        probation_s = self._first_s * min(1 << (record.losses - 1), LONGEST_FACTOR)
        record.up_at_s, record.trusted_at_s = now_s, now_s + probation_s
        return probation_s

    def losses(self, peer: str) -> int:
        """How often it was lost of late."""
        record = self._records.get(peer)
        return record.losses if record is not None else 0

    def on_probation(self, peers: Iterable[str], now_s: float) -> frozenset[str]:
        """Those of `peers` that came back too lately."""
        if not self._records:
            return frozenset()
        return frozenset(peer for peer in peers if peer in self._records and now_s < self._records[peer].trusted_at_s)
