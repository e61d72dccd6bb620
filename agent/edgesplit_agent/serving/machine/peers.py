"""Peers as requests see them: which of them may be relied on, and what they were told of requests that cannot go on.

Owns: losses of each peer, its probation once it is back, and the aborts of the last while by receiver. Its rule: pure; a
peer that was never lost is trusted at once, one that keeps coming and going is trusted later each time. An abort is said
again whenever its receiver comes back, for nobody acknowledges it and a source that misses one would wait until its
request's deadline; hearing one twice changes nothing. Not here: which plan that means (`epochs.py`), what an abort means
(`request_flow.py`), noticing a loss (`dataplane/liveness.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from edgesplit_agent.serving.machine.actions import Action, EmitEvent, SendAbort

__all__ = ["PeerTrust", "SentAborts", "back_again"]

LONGEST_FACTOR = 16
"""The longest probation over the first one. [1]"""
FORGIVEN_FACTOR = 15
"""A peer that stayed for so many first probations is as if it had never been lost. [1]"""
MEMORY_S = 60.0
"""How long an abort may have to be said again. [s]"""
MOST_PER_PEER = 1024
MOST_TOLD = 256
"""Peers to which aborts may have to be said again; of more, the first is not."""
MOST_LOST = 4096
"""Peers whose losses are remembered; of more, the one that was lost first is forgotten."""


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
        if peer not in self._records and len(self._records) >= MOST_LOST:
            del self._records[next(iter(self._records))]
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


class SentAborts:
    """Aborts that may have to be said again."""

    def __init__(self) -> None:
        self._told: dict[str, deque[tuple[float, SendAbort]]] = {}

    def tell(self, abort: SendAbort, now_s: float) -> list[Action]:
        """Send an abort that must arrive: now, and again as soon as its receiver is there."""
        if abort.peer not in self._told and len(self._told) >= MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told.setdefault(abort.peer, deque(maxlen=MOST_PER_PEER)).append((now_s, abort))
        return [abort]

    def again(self, peer: str, now_s: float) -> list[SendAbort]:
        """What to say to a peer that came back."""
        return [abort for told_s, abort in self._told.get(peer, ()) if now_s < told_s + MEMORY_S]

    def forget(self, now_s: float) -> None:
        """Drop what nobody waits for any more."""
        for peer, told in list(self._told.items()):
            while told and now_s >= told[0][0] + MEMORY_S:
                told.popleft()
            if not told:
                del self._told[peer]


def back_again(node: str, peer: str, probation_s: float, losses: int) -> EmitEvent:
    """What to say of a peer that was lost and answers again.

    Args:
        node: This one.
        peer: The other.
        probation_s: How long it has to stay before requests rely on it. [s]
        losses: How often it was lost of late.
    """
    text = f"{node} reaches {peer} again; requests rely on it once it has stayed for {probation_s:g} s"
    return EmitEvent("peer-back", text, data={"peer": peer, "losses": losses, "wait_s": probation_s})
