"""Rate limit of guesses: how many wrong tokens an address may show before it has to wait.

Owns: the count of wrong tokens by address and in all. Its rule: pure but for the time it is given; the memory is bounded, and whoever
shows a right token is never kept waiting by others' wrong ones but for the limit of all together. Not here: what a right token is.
"""

from __future__ import annotations

from collections import deque

__all__ = ["WrongTokens"]

WINDOW_S = 60.0
MOST_OF_AN_ADDRESS = 10
"""Wrong ones within `WINDOW_S`; a token has 128 random bits, so that this bounds work and log lines, not luck."""
MOST_IN_ALL = 300
REMEMBERED_ADDRESSES = 1024


class WrongTokens:
    """Counts for one server."""

    def __init__(self) -> None:
        self._by_address: dict[str, deque[float]] = {}
        self._all: deque[float] = deque(maxlen=MOST_IN_ALL)

    def __len__(self) -> int:
        """Addresses that are remembered."""
        return len(self._by_address)

    def wait_s(self, address: str, now_s: float) -> float:
        """How long an address has to wait before it may try again; 0.0 where it may now. [s]"""
        own = self._by_address.get(address, deque())
        waits = [
            tries[0] + WINDOW_S - now_s
            for tries, most in ((own, MOST_OF_AN_ADDRESS), (self._all, MOST_IN_ALL))
            if len(tries) >= most
        ]
        return max([0.0, *waits])

    def count(self, address: str, now_s: float) -> None:
        """An address showed a wrong one."""
        tries = self._by_address.pop(address, None) or deque(maxlen=MOST_OF_AN_ADDRESS)
        while len(self._by_address) >= REMEMBERED_ADDRESSES:
            del self._by_address[next(iter(self._by_address))]  # the one that has been quiet longest
        tries.append(now_s)
        self._by_address[address] = tries
        self._all.append(now_s)
