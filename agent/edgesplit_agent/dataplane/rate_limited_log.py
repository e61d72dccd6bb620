"""Lines of a log that a stranger could cause without end, limited in rate.

Owns: the count. Its rule: pure, times are handed in; a limited number in a window, then nothing until it has passed. Not
here: what is said.
"""

from __future__ import annotations

__all__ = ["Seldom"]


class Seldom:
    """At most so many in so much time.

    Args:
        most: In a window.
        window_s: Its length. [s]
    """

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._begun_s = float("-inf")
        self._count = 0

    def now(self, now_s: float) -> bool:
        """Count one; whether it may be said. [s]"""
        if now_s - self._begun_s >= self._window_s:
            self._begun_s, self._count = now_s, 0
        self._count += 1
        return self._count <= self._most
