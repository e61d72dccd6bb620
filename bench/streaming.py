"""Tensor streaming between two processes on loopback: the data plane against plain sockets, in turn.

Owns: the comparison and its table. Its rule: rounds of both ways alternate, so that what else the machine does hits
both; ratios are of rounds side by side, and their median counts. Not here: the two ends (`streaming_sides.py`).
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table

from bench.streaming_sides import WINDOW_FRAMES, Round, Stream

__all__ = ["main"]

SIZES = (4_700_000, 37_500_000)
"""Of one tensor. [B]"""
RATE_AIM, PROCESSOR_AIM = 0.8, 1.3
ROUND_BYTES = 1_500_000_000
SMALL_FRAMES = 100
MILLI, MEGA, GIGA = 1e3, 1e6, 1e9


@dataclass(frozen=True)
class Comparison:
    """Rounds of one size, side by side."""

    nbytes: int
    plain: tuple[Round, ...]
    plane: tuple[Round, ...]

    @property
    def rate_ratio(self) -> float:
        """Of the data plane's rate to plain sockets', median. [1]"""
        return statistics.median(b.bytes_per_s / a.bytes_per_s for a, b in zip(self.plain, self.plane, strict=True))

    @property
    def processor_ratio(self) -> float:
        """Of the processor time per byte, median. [1]"""
        pairs = zip(self.plain, self.plane, strict=True)
        return statistics.median(b.processor_s_per_byte / a.processor_s_per_byte for a, b in pairs)

    @property
    def reached(self) -> bool:
        """Whether both aims are met."""
        return self.rate_ratio >= RATE_AIM and self.processor_ratio <= PROCESSOR_AIM


def compare(nbytes: int, rounds: int, plain: Stream, plane: Stream) -> Comparison:
    """Alternate between both ways; the first round of each warms up and is not counted."""
    frames = max(ROUND_BYTES // nbytes, 4)
    found: tuple[list[Round], list[Round]] = ([], [])
    for _ in range(rounds + 1):
        found[0].append(plain.run(nbytes, frames))
        found[1].append(plane.run(nbytes, frames))
    return Comparison(nbytes, tuple(found[0][1:]), tuple(found[1][1:]))


@dataclass(frozen=True)
class Waits:
    """Seconds from sending 1 kB to its acknowledgement, with nothing before it and while large frames stream."""

    idle_s: tuple[float, ...]
    streaming_s: tuple[float, ...]

    def text(self) -> str:
        """One line an operator reads."""
        idle, streaming = (
            f"median {statistics.median(waits) * MILLI:.2f} ms, worst {max(waits) * MILLI:.2f} ms"
            for waits in (self.idle_s, self.streaming_s)
        )
        return (
            f"1 kB until it is acknowledged: {idle}; while tensors of {SIZES[-1] / MEGA:.1f} MB stream, "
            f"{WINDOW_FRAMES} of them waiting: {streaming}"
        )


def _table(comparisons: list[Comparison]) -> Table:
    table = Table(
        "tensor", "way", "rate", "sender", "receiver", "rate, ratio", "processor, ratio", title="Streaming on loopback"
    )
    for comparison in comparisons:
        for way, rounds in (("plain sockets", comparison.plain), ("data plane", comparison.plane)):
            ratios = (f"{comparison.rate_ratio:.2f}", f"{comparison.processor_ratio:.2f}")
            table.add_row(
                f"{comparison.nbytes / MEGA:.1f} MB",
                way,
                f"{statistics.median(r.bytes_per_s for r in rounds) / MEGA:.0f} MB/s",
                f"{statistics.median(r.sender_s_per_byte for r in rounds) * GIGA:.2f} s/GB",
                f"{statistics.median(r.receiver_s_per_byte for r in rounds) * GIGA:.2f} s/GB",
                *(ratios if way == "data plane" else ("", "")),
            )
    return table


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Of each way and size.")
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(rounds: int, strict: bool) -> None:
    """Rate and processor time per byte of the data plane against plain sockets.

    Example: python -m bench.streaming --rounds 15
    """
    with Stream("plain") as plain, Stream("plane") as plane:
        comparisons = [compare(nbytes, rounds, plain, plane) for nbytes in SIZES]
        waits = Waits(tuple(plane.waits(0, SMALL_FRAMES)), tuple(plane.waits(SIZES[-1], SMALL_FRAMES)))
    Console(width=120).print(_table(comparisons))
    print(waits.text())
    print(f"aims: rate at least {RATE_AIM} of plain sockets', processor time per byte at most {PROCESSOR_AIM} times")
    sys.exit(int(strict and not all(comparison.reached for comparison in comparisons)))


if __name__ == "__main__":
    main()
