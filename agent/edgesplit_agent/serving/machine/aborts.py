"""What other nodes were told about requests that cannot go on, in case it did not reach them.

Owns: the aborts of the last while, by receiver. Its rule: they are said again whenever the receiver comes back, for
nobody acknowledges them and a source that misses one would wait until its request's deadline; hearing one twice changes
nothing. Not here: what an abort means (`serving/machine/request_flow.py`).
"""

from __future__ import annotations

from collections import deque

from edgesplit_agent.serving.machine.actions import SendAbort

__all__ = ["ToldAborts"]

MEMORY_S = 60.0
MOST_PER_PEER = 1024


class ToldAborts:
    """Aborts that may have to be said again."""

    def __init__(self) -> None:
        self._told: dict[str, deque[tuple[float, SendAbort]]] = {}

    def remember(self, abort: SendAbort, now_s: float) -> None:
        """An abort is sent now, or as soon as its receiver is there."""
        self._told.setdefault(abort.peer, deque(maxlen=MOST_PER_PEER)).append((now_s, abort))

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
