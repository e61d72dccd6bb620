"""The rates of the testbed's links: changed, and waited for until every agent believes them.

Owns: factors on what the layout set, and whether links are believed. Its rule: planning takes what agents say, so a change
has happened only once they say it. Not here: models (`lab/running`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.testbed.testbed import Testbed

__all__ = ["POLL_S", "SETTLE_S", "LinkRates"]

SETTLE_S = 3.0
"""The controller's own answer to a change of links comes before the next change. [s]"""
POLL_S = 2.0
"""Between two looks at what the controller says: a command's start takes half a second of a core. [s]"""
BELIEVED_WITHIN = 0.1
BELIEVED_LIMIT_S = 100.0
"""Idle links of 100 MB/s and 55 ms are probed every minute and a half (`edgesplit_agent/dataplane/measurement/probing.py`)."""


class LinkRates:
    """Of every link of a testbed.

    Args:
        testbed: A running one.
        say: Told what is not believed in time.
    """

    def __init__(self, testbed: Testbed, say: Callable[[str], None]) -> None:
        self._testbed = testbed
        self._say = say
        self._set = {pair: testbed.shape(*pair).rate_bytes_per_s for pair in testbed.pairs}

    def scale(self, factor: float) -> list[str]:
        """Set every link to a factor of what it was at first, and wait until that is believed; those that are not."""
        for (source, target), rate in self._set.items():
            self._testbed.set_rate(source, target, rate * factor)
        away = self.await_believed()
        time.sleep(SETTLE_S)
        return away

    def await_believed(self) -> list[str]:
        """Wait until every link is believed to be what it is set to, within a limit; those that are not by then."""
        deadline = time.monotonic() + BELIEVED_LIMIT_S
        while away := self._away():
            if time.monotonic() > deadline:
                self._say(
                    f"not believed within {BELIEVED_WITHIN:.0%} after {BELIEVED_LIMIT_S:.0f} s: {', '.join(away)}"
                )
                break
            time.sleep(POLL_S)
        return away

    def _away(self) -> list[str]:
        """Links that are not believed to be what they are set to."""
        believed = {
            (row["from"], row["to"]): row["bandwidth_bytes_per_s"]
            for row in self._testbed.fleet.splitctl("links")
            if row["latency_s"] is not None
        }
        return [
            f"{pair[0]} to {pair[1]} at {believed.get(pair, 0.0) / 1e6:.1f} MB/s"
            for pair in self._set
            if abs(believed.get(pair, 0.0) / self._testbed.shape(*pair).rate_bytes_per_s - 1) > BELIEVED_WITHIN
        ]
