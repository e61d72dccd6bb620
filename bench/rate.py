"""Rates that plans promise, held against live agents: pipelined requests, what is the busiest, and what is asked beyond reach.

Owns: the fleet with emulated speeds and links, the rates asked for, the measuring and the verdict. Its rule: a plan is made by
`set-weights --min-rate` as an operator makes it, and what is measured is what callers and agents count. Not here: the callers
(`callers.py`), what a plan sustains (the planner's).

As many requests are in flight as the plan's latency times its rate, and some more, so that the busiest of its nodes and links never
waits for a caller. That a rate is kept means that answers come at it, with every answer held against the whole model's.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench.callers import Answer, Callers
from bench.scene import SHIPPED_MODEL, Subject, subject
from demo.fleet import CommandFailed, EmulatedLink, EmulatedNode, LocalFleet
from edgesplit.planning.problem import Problem
from edgesplit.planning.problem_file import problem_from_json
from edgesplit_controller.planner import solve

__all__ = ["Served", "main"]

MODEL = "shapes"
NODES = (
    EmulatedNode(
        "device", 2.9, 3.5, slow_down=60.0, links={"edge": EmulatedLink(1e6, 0.005), "cloud": EmulatedLink(1e6, 0.055)}
    ),
    EmulatedNode(
        "edge", 6.0, 2.0, slow_down=24.0, links={"device": EmulatedLink(4e6, 0.005), "cloud": EmulatedLink(4e6, 0.050)}
    ),
    EmulatedNode(
        "cloud", 35.0, 0.1, slow_down=12.0, links={"device": EmulatedLink(8e6, 0.055), "edge": EmulatedLink(8e6, 0.050)}
    ),
)
"""Slow enough that what they compute really takes a small part of a core: three nodes and the callers share one machine."""
ABOVE = (1.1, 1.3)
"""Rates asked for, as multiples of what the fastest plan sustains, as far as they are within reach."""
OF_HIGHEST = (0.6, 0.97)
"""Rates asked for, as shares of the highest that is reachable."""
KEPT_AIM, REACHED_AIM = 0.95, 0.02
NEARLY = 0.1
"""Of a node's or link's time: plans near the highest rate keep several about as busy, and which is the busiest is then a matter of
what predictions err by."""
MORE_IN_FLIGHT = 3
LEARNING_S, TAUGHT = 8.0, 4
"""So long a plan serves before its rate is asked for again, under what its components prove to take; and how often at most."""
BEYOND = 1e6
"""A rate that no plan sustains. [1/s]"""
BISECTED = 2e-3
"""Relative distance at which the check's own halving ends."""


@dataclass(frozen=True)
class Served:
    """One rate asked for, and what came of it.

    Attributes:
        asked_hz: By `--min-rate`; None: no rate was asked for. [1/s]
        plan: Document of `splitctl plan`, taken before the requests that count.
        in_flight: Requests at a time.
        answers: Within the time that counts.
        span_s: That time. [s]
        busy: Node, or link as `FROM:TO`, to the share of that time that it was busy, measured. [1]
    """

    asked_hz: float | None
    plan: Mapping[str, Any]
    in_flight: int
    answers: int
    span_s: float
    busy: Mapping[str, float]

    @property
    def rate_hz(self) -> float:
        """At which answers came. [1/s]"""
        return self.answers / self.span_s

    @property
    def wanted_hz(self) -> float:
        """What it is held to: the rate asked for, else what the plan says it sustains. [1/s]"""
        return self.asked_hz or float(self.plan["rate_hz"])

    @property
    def busiest(self) -> str:
        """As measured."""
        return max(self.busy, key=lambda name: self.busy[name])

    @property
    def named(self) -> bool:
        """Whether the bottleneck that the plan names is the busiest, or nearly."""
        return self.busy.get(self.plan["bottleneck"], 0.0) >= self.busy[self.busiest] - NEARLY

    @property
    def kept(self) -> bool:
        """Whether the rate was."""
        return self.rate_hz >= KEPT_AIM * self.wanted_hz


def measured(fleet: LocalFleet, made: Subject, folder: Path, asked_hz: float | None, seconds: float) -> Served:
    """Ask for a rate, call, and count.

    Raises:
        CommandFailed: No plan sustains the rate.
    """
    ask(fleet, asked_hz)
    plan = fleet.splitctl("plan", MODEL)
    in_flight = math.ceil(plan["latency_s"] * plan["rate_hz"]) + MORE_IN_FLIGHT
    with Callers(fleet.address(plan["source"]), MODEL, made.requests, folder, count=in_flight) as callers:
        for _ in range(TAUGHT):
            time.sleep(LEARNING_S)
            if not ask(fleet, asked_hz):
                break
        plan = fleet.splitctl("plan", MODEL)
        begin_s, before = time.monotonic(), usage(fleet, plan)
        time.sleep(seconds)
        end_s, after = time.monotonic(), usage(fleet, plan)
        answers = callers.stop()
    wrong = [answer for answer in answers if answer.failed or answer.wrong]
    if wrong:
        raise click.ClickException(f"{len(wrong)} of {len(answers)} answers failed or are wrong: {wrong[0]}")
    count = len(_within(answers, begin_s, end_s))
    busy = shares(problem_of(fleet), plan, before, after, count / (end_s - begin_s))
    return Served(asked_hz, plan, in_flight, count, end_s - begin_s, busy)


def ask(fleet: LocalFleet, rate_hz: float | None) -> bool:
    """Have plans sustain a rate; whether another plan serves since. [1/s]"""
    rate = "none" if rate_hz is None else repr(rate_hz)
    (row,) = fleet.splitctl("set-weights", "--min-rate", rate, "--model", MODEL)
    return bool(row["changed"])


def _within(answers: list[Answer], begin_s: float, end_s: float) -> list[Answer]:
    return [answer for answer in answers if begin_s <= answer.done_s < end_s]


def usage(fleet: LocalFleet, plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """What serving an epoch took so far: seconds by node, and how many requests they are of."""
    now = fleet.splitctl("plan", MODEL)
    if now["epoch"] != plan["epoch"]:
        raise click.ClickException(f"epoch {now['epoch']} took the place of {plan['epoch']}: {now['reason']}")
    found: Mapping[str, Any] = now["measured"]["per_node"]
    return found


def shares(
    problem: Problem, plan: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], rate_hz: float
) -> dict[str, float]:
    """How busy nodes and links were, by what agents counted between two looks.

    A node's seconds of sending are told for all its links together, their latencies included: they are shared out as the plan
    has its tensors there.
    """
    busy: dict[str, float] = {}
    links = {(link.source, link.target): link for link in problem.links}
    sizes: dict[tuple[str, str], list[float]] = {}
    for entry in plan["timeline"]:
        if entry["kind"] == "transfer":
            pair = entry["from"], entry["to"]
            sizes.setdefault(pair, []).append(entry["end_s"] - entry["start_s"] - links[pair].latency_s)
    for node, now in after.items():
        then = before.get(node, dict.fromkeys(now, 0.0))
        count = now["requests"] - then["requests"]
        if count <= 0:
            continue

        def mean(key: str, now: Mapping[str, Any] = now, then: Mapping[str, Any] = then, count: int = count) -> float:
            return float(now[key] * now["requests"] - then[key] * then["requests"]) / count

        busy[node] = (mean("compute_s") + mean("coding_s")) * rate_hz
        own = {pair: times for pair, times in sizes.items() if pair[0] == node}
        occupied_s = mean("transmit_s") - sum(len(times) * links[pair].latency_s for pair, times in own.items())
        planned_s = sum(map(sum, own.values()))
        for pair, times in own.items():
            busy[":".join(pair)] = occupied_s * sum(times) / planned_s * rate_hz
    return busy


def problem_of(fleet: LocalFleet) -> Problem:
    """The active plan's problem, as `plan --export` writes it."""
    file = fleet.folder / "exported.json"
    fleet.splitctl("plan", MODEL, "--export", str(file))
    return problem_from_json(file.read_bytes())


def asked_beyond(fleet: LocalFleet) -> tuple[int, float, str]:
    """Ask for a rate that no plan sustains: exit status, the highest rate in the sentence, and the sentence. [1/s]"""
    try:
        fleet.splitctl("set-weights", "--min-rate", repr(BEYOND), "--model", MODEL)
    except CommandFailed as refused:
        said = json.dumps(refused.error)
        found = re.search(r"the highest (?:that is reachable|found) is ([-+.e\d]+) requests/s, bounded by", said)
        return refused.exit_code, float(found[1]) if found else math.nan, refused.error["error"]["message"]
    return 0, math.nan, ""


def bisected(problem: Problem) -> float:
    """The highest rate for which the planner finds a plan, by halving alone. [1/s]"""

    def able(rate_hz: float) -> bool:
        constraints = msgspec.structs.replace(problem.constraints, min_rate_hz=rate_hz)
        return solve(msgspec.structs.replace(problem, constraints=constraints)).assignment is not None

    low_hz, high_hz = 1e-3, 1e4
    while high_hz > low_hz * (1 + BISECTED):
        middle_hz = math.sqrt(low_hz * high_hz)
        low_hz, high_hz = (middle_hz, high_hz) if able(middle_hz) else (low_hz, middle_hz)
    return low_hz


@contextmanager
def deployed(folder: Path) -> Iterator[LocalFleet]:
    """Controller and agents with the model served from the device, in float, whose plans are made when they are asked for alone."""
    stays = "change_threshold = 1000.0\ngain_threshold = 1000.0\n"
    with LocalFleet(folder, NODES, latency_model="critical-path", planning=stays) as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", "--wait", "all", MODEL, str(SHIPPED_MODEL), timeout_s=600.0)
        fleet.splitctl("deploy", MODEL, "--source", "device", "--wait", "300", timeout_s=320.0)
        yield fleet


def show(rows: list[Served]) -> None:
    """Print what was measured."""
    table = Table(title="Rates of pipelined requests")
    for column in ("asked for", "plan sustains", "bounded by", "in flight", "served", "of asked", "busiest, measured"):
        table.add_column(column)
    for row in rows:
        busiest = f"{row.busiest} {row.busy[row.busiest]:.0%}"
        named = row.plan["bottleneck"]
        if named != row.busiest:
            busiest += f" ({named} {row.busy.get(named, 0.0):.0%})"
        table.add_row(
            "none" if row.asked_hz is None else f"{row.asked_hz:.2f}/s",
            f"{row.plan['rate_hz']:.2f}/s",
            named,
            str(row.in_flight),
            f"{row.rate_hz:.2f}/s",
            f"{row.rate_hz / row.wanted_hz:.3f}",
            busiest,
        )
    Console(width=140).print(table)


@click.command()
@click.option("--seconds", default=20.0, show_default=True, help="For which each plan is measured. [s]")
def main(seconds: float) -> None:
    """Plan for rates on a fleet of three emulated nodes, and serve at them.

    Example: python -m bench.rate --seconds 30
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-rate-") as name, deployed(Path(name)) as fleet:
        folder = Path(name)
        made = subject(SHIPPED_MODEL, folder)
        status, said_hz, sentence = asked_beyond(fleet)
        highest_hz = bisected(fleet_problem := problem_of(fleet))
        click.echo(f"{BEYOND:g}/s asked for: exit {status}. {sentence}")
        click.echo(f"halving finds {highest_hz:.4g}/s: {said_hz / highest_hz - 1:+.2%}")
        rows = [measured(fleet, made, folder, None, seconds)]
        free_hz = float(rows[0].plan["rate_hz"])
        wanted = {free_hz * factor for factor in ABOVE} | {highest_hz * share for share in OF_HIGHEST}
        for hz in sorted(hz for hz in wanted if free_hz < hz <= 0.99 * highest_hz):
            try:
                rows.append(measured(fleet, made, folder, hz, seconds))
            except CommandFailed as refused:
                click.echo(f"{hz:.3g}/s is out of reach by what was measured: {refused.error['error']['message']}")
    show(rows)
    nodes = ", ".join(node.name for node in fleet_problem.nodes)
    reached = status == 3 and abs(said_hz / highest_hz - 1) <= REACHED_AIM
    kept, named = all(row.kept for row in rows), sum(row.named for row in rows)
    exactly = sum(row.plan["bottleneck"] == row.busiest for row in rows)
    click.echo(f"over {nodes}: served at least {KEPT_AIM:.0%} of the rate: {'yes' if kept else 'NO'}")
    click.echo(f"the bottleneck named is the busiest: {exactly} of {len(rows)}, within {NEARLY:.0%} of it: {named}")
    click.echo(f"the rate within reach is right to {REACHED_AIM:.0%}, exit status 3: {'yes' if reached else 'NO'}")
    sys.exit(0 if reached and kept and named == len(rows) else 1)


if __name__ == "__main__":
    main()
