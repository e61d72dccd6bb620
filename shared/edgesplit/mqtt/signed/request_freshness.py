"""Replay protection of requests: each counts once, and only within minutes of being signed.

Owns: which requests were heard lately. Its rule: memory is bounded and nothing is ever taken twice: what is forgotten, and whatever
was signed before this program started, is refused for its age alone. Pure: no clock of its own. Not here: signatures
(`edgesplit.trust.signing`), state, whose newest message counts (`mqtt/signed/counter_memory.py`).
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime

from edgesplit.errors import NotTrusted
from edgesplit.trust.subjects import PeerCertificate

__all__ = ["FRESH_S", "RequestFreshness"]

FRESH_S = 300.0
"""How far the clocks of who asks and who answers may be apart, the way included. [s]"""
REMEMBERED = 1 << 16


class RequestFreshness:
    """The requests of the last minutes.

    Args:
        started_s: When this program started: requests of before were another run's. [s since the epoch]
    """

    def __init__(self, started_s: float) -> None:
        self._floor = int(started_s * 1e6)
        self._seen: set[tuple[int, str]] = set()
        self._oldest: list[tuple[int, str]] = []

    def take(self, signer: PeerCertificate, counter: int, now_s: float) -> None:
        """Take in a request whose signature is good.

        Args:
            signer: Who asks.
            counter: Microseconds since the epoch, on its clock.
            now_s: Since the epoch, on this one. [s]

        Raises:
            NotTrusted: It was heard before, or is too old or too new to tell.
        """
        if abs(counter / 1e6 - now_s) > FRESH_S:
            raise NotTrusted(
                f"it was signed at {_time(counter / 1e6)} by the clock of {signer.subject}, and the clock here says "
                f"{_time(now_s)}: set both, they may be {FRESH_S / 60:g} minutes apart"
            )
        asked = (counter, signer.serial)
        if asked in self._seen:
            raise NotTrusted("it is an old request sent again")
        if counter <= self._floor:
            raise NotTrusted(
                f"it was signed at {_time(counter / 1e6)} by the clock of {signer.subject}, before this controller "
                f"started or {REMEMBERED} requests ago (at {_time(self._floor / 1e6)} by the clock here): ask again"
            )
        self._seen.add(asked)
        heapq.heappush(self._oldest, asked)
        too_old = int((now_s - FRESH_S) * 1e6)
        while self._oldest and (self._oldest[0][0] < too_old or len(self._oldest) > REMEMBERED):
            forgotten = heapq.heappop(self._oldest)
            self._seen.discard(forgotten)
            self._floor = max(self._floor, forgotten[0])


def _time(at_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{at_s:g} s after 1970"
