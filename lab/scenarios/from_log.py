"""From measured rates to a scenario: an iperf3 log, or times and bytes as a packet capture has them, become changes of a link.

Owns: reading both, steps of about equal rate, the scenario that is printed. Its rule: what it prints can be run as it stands, and says
in a comment what it was made of. Not here: the tables (`scenario.py`).

`python -m lab.scenarios.from_log LOG --ends device edge > mine.toml`. A list has a line for each packet or second, time and bytes, as
`tshark -r trace.pcap -T fields -e frame.time_relative -e frame.len` prints them.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lab.scenarios.scenario_file import ScenarioInvalid, load, parse

__all__ = ["LogUnusable", "MeasuredRate", "RateStep", "from_iperf", "from_list", "main", "scenario_text", "steps"]

CHANGE = 0.2
"""A rate that is so far from the step's so far begins a new one. [1]"""
LEAST_BYTES_PER_S = 10_000.0
"""Below it a link counts as cut. [B/s]"""
_NUMBERS = re.compile(r"^\s*([0-9.]+)[\s,;]+([0-9.]+)\s*$")


class LogUnusable(Exception):
    """A log has no rates; the sentence says what it should have."""


@dataclass(frozen=True)
class MeasuredRate:
    """The rate of a span of time. [s, B/s]"""

    from_s: float
    to_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class RateStep:
    """About one rate from a moment on. [s, B/s]"""

    at_s: float
    bytes_per_s: float


def from_iperf(text: str) -> list[MeasuredRate]:
    """Intervals of `iperf3 --json`.

    Raises:
        LogUnusable: It is none, or iperf3 says that it failed.
    """
    try:
        document: Mapping[str, Any] = json.loads(text)
        if document.get("error"):
            raise LogUnusable(f"iperf3 says that it failed: {document['error']}")
        sums = [interval["sum"] for interval in document["intervals"]]
        if not sums:
            raise LogUnusable("this log of iperf3 has no intervals")
        return [MeasuredRate(entry["start"], entry["end"], entry["bits_per_second"] / 8) for entry in sums]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise LogUnusable(f"this is no log of `iperf3 --json` ({type(error).__name__}: {error})") from error


def from_list(text: str, every_s: float = 1.0) -> list[MeasuredRate]:
    """Times and bytes, a line each, counted in spans.

    Args:
        text: Lines of a time [s] and a number of bytes, apart by spaces, tabs or commas; `#` begins a comment, and a first line
            that is no such line is a heading.
        every_s: Length of a span. [s]

    Raises:
        LogUnusable: A line is none of that.
    """
    counted: dict[int, float] = {}
    seen_lines = 0
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.partition("#")[0].strip()
        if not plain:
            continue
        seen_lines += 1
        found = _NUMBERS.match(plain)
        if found is None:
            if seen_lines == 1:
                continue
            raise LogUnusable(f"line {number} has no time and bytes but {plain!r}: write such as `12.5, 1448`")
        span = int(float(found[1]) / every_s)
        counted[span] = counted.get(span, 0.0) + float(found[2])
    if not counted:
        raise LogUnusable("there are no lines with a time and bytes")
    first, last = min(counted), max(counted)
    return [
        MeasuredRate((span - first) * every_s, (span - first + 1) * every_s, counted.get(span, 0.0) / every_s)
        for span in range(first, last + 1)
    ]


def steps(measured: Sequence[MeasuredRate], change: float = CHANGE) -> list[RateStep]:
    """Spans of about equal rate put together; each has their mean."""
    found: list[list[MeasuredRate]] = []
    for entry in measured:
        if found and _alike(entry, found[-1], change):
            found[-1].append(entry)
        else:
            found.append([entry])
    return [RateStep(group[0].from_s, statistics.mean(entry.bytes_per_s for entry in group)) for group in found]


def _alike(entry: MeasuredRate, group: Sequence[MeasuredRate], change: float) -> bool:
    mean = statistics.mean(other.bytes_per_s for other in group)
    cut = mean < LEAST_BYTES_PER_S
    return cut == (entry.bytes_per_s < LEAST_BYTES_PER_S) and (cut or abs(entry.bytes_per_s / mean - 1) <= change)


def scenario_text(
    base: Mapping[str, Any], found: Sequence[RateStep], *, name: str, ends: tuple[str, str], ends_s: float, made_of: str
) -> str:
    """A scenario in which one direction of a link goes through steps, as TOML.

    Args:
        base: A scenario's document, of which machines, links and models are taken.
        found: Steps of the link's rate.
        name: Of the new scenario.
        ends: From and to.
        ends_s: When the log ends. [s]
        made_of: For the comment.
    """
    tables: list[tuple[str, Mapping[str, Any]]] = [("[scenario]", {"name": name, "title": f"{name}: measured rates"})]
    for key in ("machine", "link", "model"):
        tables += [(f"[[{key}]]", entry) for entry in base.get(key, ())]
    tables.append(("[dynamics]", {"strategies": ["edgesplit", "oracle"], "duration_s": round(ends_s, 3)}))
    tables += [("[[change]]", change) for change in _changes(ends, found)]
    lines = [f"# Made of {made_of}; rates are of {ends[0]} to {ends[1]}."]
    for heading, table in tables:
        lines += ["", heading, *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _changes(ends: tuple[str, str], found: Sequence[RateStep]) -> Iterable[dict[str, Any]]:
    cut = False
    for step in found:
        at_s = round(step.at_s, 3)
        if step.bytes_per_s < LEAST_BYTES_PER_S:
            yield {"at_s": at_s, "what": "cut", "ends": list(ends)}
            cut = True
            continue
        if cut:
            yield {"at_s": at_s, "what": "restore", "ends": list(ends)}
            cut = False
        yield {"at_s": at_s, "what": "rate", "ends": list(ends), "bytes_per_s": round(step.bytes_per_s)}


def _value(value: Any) -> str:
    """As TOML writes it; what a scenario's document holds is numbers, texts, truth values and lists."""
    if isinstance(value, list):
        return f"[{', '.join(_value(entry) for entry in value)}]"
    return json.dumps(value, ensure_ascii=False)


@click.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ends", nargs=2, default=("device", "edge"), show_default=True, help="From which machine to which.")
@click.option("--base", default="smoke", show_default=True, help="Scenario whose machines, links and models are taken.")
@click.option("--name", default="measured", show_default=True, help="Of the new scenario.")
@click.option("--every", "every_s", default=1.0, show_default=True, help="Spans in which packets are counted. [s]")
@click.option("--change", default=CHANGE, show_default=True, help="How far a rate must be off to begin a new step.")
def main(log: Path, ends: tuple[str, str], base: str, name: str, every_s: float, change: float) -> None:  # noqa: PLR0917 - one parameter an option
    """Print a scenario in which a link has the rates of LOG: `iperf3 --json`, or lines of a time and bytes.

    Example: python -m lab.scenarios.from_log uplink.json --ends device edge > mine.toml
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    try:
        measured = from_iperf(text) if text.lstrip().startswith("{") else from_list(text, every_s)
        made = scenario_text(
            load(base).document,
            steps(measured, change),
            name=name,
            ends=ends,
            ends_s=measured[-1].to_s,
            made_of=log.name,
        )
        parse(made, "the scenario made of it", Path.cwd())
    except (LogUnusable, ScenarioInvalid) as error:
        sys.exit(f"from_log: {log}: {error}")
    click.echo(made, nl=False)


if __name__ == "__main__":
    main()
