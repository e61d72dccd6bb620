"""Messages that were not believed: counted all, told once each.

Owns: counts by kind of topic, and what was told lately. Its rule: whoever floods topics must not flood logs: the same topic and reason
are told once in ten minutes, and few in a minute. Pure: no clock of its own. Not here: why a message is not believed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Refusal", "Refusals"]

EVERY_S = 600.0
MOST_A_MINUTE = 20
REMEMBERED = 1024
_LONGEST_TOPIC = 200


@dataclass(frozen=True)
class Refusal:
    """A message that was not believed.

    Attributes:
        topic: Where it came.
        reason: Why, as the end of a sentence.
        payload: What came.
        is_news: Whether it is to be told: the same was not told lately, nor much else.
    """

    topic: str
    reason: str
    payload: bytes
    is_news: bool

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return f"the message on {self.topic[:_LONGEST_TOPIC]} was refused: {self.reason}"


class Refusals:
    """All since the start.

    Attributes:
        counts: By the pattern of the topic.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._recent: deque[float] = deque(maxlen=MOST_A_MINUTE)

    def refuse(self, pattern: str, topic: str, reason: str, payload: bytes, now_s: float) -> Refusal:
        """Count a message.

        Args:
            pattern: Of its topic's row.
            topic: Where it came.
            reason: Why it is not believed.
            payload: What came.
            now_s: Monotonic. [s]
        """
        self.counts[pattern] = self.counts.get(pattern, 0) + 1
        return Refusal(topic, reason, payload, self._is_news((topic[:_LONGEST_TOPIC], reason[:40]), now_s))

    def _is_news(self, what: tuple[str, str], now_s: float) -> bool:
        if now_s - self._told.get(what, float("-inf")) < EVERY_S:
            return False
        if len(self._recent) == MOST_A_MINUTE and now_s - self._recent[0] < 60.0:
            return False
        self._told.pop(what, None)
        while len(self._told) >= REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[what] = now_s
        self._recent.append(now_s)
        return True
