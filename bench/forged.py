"""Agents that say what agents say and compute nothing, many in one process: a fleet for the controller to be idle beside.

Owns: how often they report, which is how often agents of edgesplit 0.1 sent them. Its rule: their
links scatter as links of busy machines do. Not here: what they say (`fake_agent.py`), what the controller does with it
(`idle.py`).
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
import time
from collections.abc import Sequence

import click

from bench.fake_agent import FakeAgent
from edgesplit.control.profile_messages import ProfilePlan

__all__ = ["main"]

METRICS_EVERY_S = 2.0
LINKS_EVERY_S = 1.0
SCATTER = 0.3
"""Standard deviation of a link's logarithm, as links of loopback have beside load. [1]"""
NEARNESS = 0.8
"""How much of a link's deviation is still there a second later. [1]"""
NEAR_BYTES_PER_S, NEAR_S = 1e9, 2e-4
WHOLE_S = (0.2, 0.1, 0.05)
"""What the model takes on the first node, the second, and all others. [s]"""


class ForgedAgent(FakeAgent):
    """One of them.

    Args:
        url: Of the broker.
        name: Its own.
        peers: All names; it claims a link to each other one.
        whole_s: What the whole model takes here. [s]
        seed: Of its links' scatter.
    """

    def __init__(self, url: str, name: str, peers: Sequence[str], whole_s: float, seed: int) -> None:
        near = {peer: (NEAR_BYTES_PER_S, NEAR_S) for peer in peers if peer != name}
        super().__init__(url, name, unit_s=whole_s, peers=near, compute_w=5.0)
        self._random = random.Random(seed)
        self._deviation = dict.fromkeys(near, 0.0)
        self.advertise = f"127.0.0.1:{20_000 + seed}"
        self.memory_limit_bytes = 4 << 30

    def unit_time_s(self, plan: ProfilePlan) -> float:
        """The same for each."""
        return self.unit_s / len(plan.units)

    async def run(self) -> None:
        """Register and report, for ever."""
        await self.start()
        await asyncio.sleep(self._random.random())
        await asyncio.gather(self._report_metrics(), self._report_links())

    async def _report_metrics(self) -> None:
        while True:
            self.publish_metrics(
                at_unix_s=time.time(),
                cpu_percent=self._random.uniform(0, 10),
                memory_available_bytes=self._random.randrange(1 << 30, 1 << 31),
                transmit_w=2.0,
            )
            await asyncio.sleep(METRICS_EVERY_S)

    async def _report_links(self) -> None:
        """With tens of scattering links, one has always changed by more than the few percent that are told at once."""
        while True:
            for peer, deviation in self._deviation.items():
                fresh = self._random.gauss(0, SCATTER * math.sqrt(1 - NEARNESS**2))
                self._deviation[peer] = NEARNESS * deviation + fresh
            self.peers = {
                peer: (NEAR_BYTES_PER_S * math.exp(deviation), NEAR_S * math.exp(-deviation / 2))
                for peer, deviation in self._deviation.items()
            }
            self.publish_links(measured_at_unix_s=time.time())
            await asyncio.sleep(LINKS_EVERY_S)


async def _run(url: str, count: int) -> None:
    names = [f"n{index:02d}" for index in range(count)]
    agents = [
        ForgedAgent(url, name, names, WHOLE_S[min(index, len(WHOLE_S) - 1)], index) for index, name in enumerate(names)
    ]
    await asyncio.gather(*(agent.run() for agent in agents))


@click.command()
@click.option("--broker", required=True, metavar="URL")
@click.option("--count", default=30, show_default=True)
def main(broker: str, count: int) -> None:
    """Register agents that only talk, until SIGTERM; the slowest is n00.

    Example: python -m bench.forged --broker mqtt://127.0.0.1:1883 --count 30
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(_run(broker, count))


if __name__ == "__main__":
    main()
