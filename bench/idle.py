"""What a fleet does while nobody asks anything: events, log lines, processor time, probes, epochs.

Owns: a deployed model without a request, and what is counted meanwhile from outside (the broker, /proc, the kernel's
sockets), so that any release can be measured. Its rule: processor time, not wall time; beside other load the figures hold.
Not here: what plans predict and how soon real changes are noticed (`end_to_end`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.scene import SHIPPED_MODEL, broker
from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from edgesplit.control.figure_messages import Steadiness
from edgesplit_controller.cli.views.tables import steadiness_text
from lab.testbed.requirements import unavailable
from lab.testbed.testbed import STUDY, Testbed

__all__ = ["Idle", "main"]

SLOW_DOWN = (4.0, 2.0, 1.0)
"""Of the source, the second node and all others, so that a plan uses several. [1]"""
LOOK_S = 1.0
SETTLE_S = 20.0
"""After deploying: fallbacks are prepared, links calibrated."""
MODEL = "idle"
EVENTS_AIM, CONTROLLER_AIM, MANY_AIM = 3, 0.01, 0.05
OWN_AIM = 0.005
"""Of a core: what an agent may spend on measuring its own speed. [1]"""
ROOT = Path(__file__).resolve().parents[1]
LISTENS_S = 3.0
TEXTS = 20
"""Events that are printed. [1]"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Idle:
    """What happened meanwhile.

    Attributes:
        seconds: For how long. [s]
        events: By kind.
        texts: Of the events.
        messages: Published on the broker, by kind of topic.
        log_lines: Of the controller.
        controller_share: Of a core. [1]
        agent_shares: Of a core, by agent. [1]
        own_shares: Of a core, by agent and by what for: the part of it that went into measuring its own speed. [1]
        steadiness: What each agent found of its machine, as `splitctl nodes` shows it.
        sent_bytes: Without a request these are probes and pings; by direction. [B]
        rates: What the agents believe of each direction. [B/s]
        epochs: Of the deployed model, before and after.
        solves: Plans and fallbacks that were planned, by purpose; nothing from a release that does not count them.
        history_s: What `splitctl events` reaches back to, where the fleet is younger than the history its age. [s]
    """

    seconds: float
    events: Counter[str] = field(default_factory=Counter[str])
    texts: list[str] = field(default_factory=list[str])
    messages: Counter[str] = field(default_factory=Counter[str])
    log_lines: int = 0
    controller_share: float = 0.0
    agent_shares: dict[str, float] = field(default_factory=dict[str, float])
    own_shares: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    steadiness: dict[str, str] = field(default_factory=dict[str, str])
    sent_bytes: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    rates: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    epochs: tuple[int, int] = (0, 0)
    solves: dict[str, int] = field(default_factory=dict[str, int])
    history_s: float = 0.0


class _Ear:
    """What is published, while the context lasts."""

    def __init__(self, fleet: LocalFleet) -> None:
        self._path = fleet.folder / "heard"
        place = fleet.places["controller"].command if "controller" in fleet.places else ()
        self._command = [*place, sys.executable, "-m", "bench.ear", "--broker", fleet.broker]

    def __enter__(self) -> _Ear:
        with self._path.open("wb") as heard:
            self._process = subprocess.Popen(self._command, stdout=heard, cwd=ROOT)
        time.sleep(LISTENS_S)
        self._skipped = len(self._path.read_bytes())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def heard(self) -> list[tuple[str, str]]:
        """Topic and, of events, payload of every message since the beginning."""
        told = self._path.read_bytes()[self._skipped :].decode("utf-8", "replace")
        return [(topic, payload) for topic, _, payload in (line.partition(" ") for line in told.splitlines())]


def measure(fleet: LocalFleet, seconds: float) -> Idle:
    """Let time pass and count.

    Args:
        fleet: A model is deployed.
        seconds: For how long. [s]
    """
    found = Idle(seconds)
    names = list(fleet.nodes)
    epoch = fleet.splitctl("plan", MODEL)["epoch"]
    with _Ear(fleet) as ear:
        before = {name: _processor_s(fleet.pid(name)) for name in (*names, "controller")}
        own, solved = {name: _own_s(fleet, name) for name in names}, _solves(fleet)
        sent, lines = _sent_bytes(fleet, names), fleet.log("controller").count("\n")
        began_s = time.monotonic()
        time.sleep(seconds)
        found.seconds = time.monotonic() - began_s
        shares = {name: (_processor_s(fleet.pid(name)) - before[name]) / found.seconds for name in before}
        _count(ear.heard(), found)
    found.solves = {purpose: count - solved.get(purpose, 0) for purpose, count in _solves(fleet).items()}
    found.controller_share = shares.pop("controller")
    for name in names:
        spent = {work: seconds - own[name].get(work, 0.0) for work, seconds in _own_s(fleet, name).items()}
        found.own_shares[name] = {work: seconds / found.seconds for work, seconds in spent.items()}
    found.agent_shares = shares
    for row in fleet.splitctl("nodes"):
        if said := row.get("steadiness"):
            found.steadiness[row["name"]] = steadiness_text(msgspec.convert(said, Steadiness))
    found.log_lines = fleet.log("controller").count("\n") - lines
    found.sent_bytes = {pair: nbytes - sent.get(pair, 0) for pair, nbytes in _sent_bytes(fleet, names).items()}
    found.rates = {
        (row["from"], row["to"]): row["bandwidth_bytes_per_s"]
        for row in fleet.splitctl("links")
        if row["latency_s"] is not None
    }
    found.epochs = (epoch, fleet.splitctl("plan", MODEL)["epoch"])
    history = fleet.splitctl("events", "--limit", "100000")
    found.history_s = time.time() - history[0]["at_unix_s"] if history else 0.0
    return found


def _count(heard: list[tuple[str, str]], found: Idle) -> None:
    for topic, payload in heard:
        first, *rest = topic.split("/")
        if first == "events":
            event = msgspec.json.decode(payload)
            found.events[event["kind"]] += 1
            found.texts.append(f"{event['kind']}: {event['text']}")
        elif first not in {"requests", "replies"}:
            found.messages[rest[1] if first == "nodes" else first] += 1


def _processor_s(process: int) -> float:
    """Processor time of a process and all its threads so far. [s]"""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _page(fleet: LocalFleet, name: str, address: str) -> str:
    """The metrics page of a program, asked from the machine that it runs on."""
    place = [*fleet.places[name].command] if name in fleet.places else []
    code = f"import urllib.request as u; print(u.urlopen('http://{address}/metrics').read().decode())"
    return subprocess.run([*place, sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def _solves(fleet: LocalFleet) -> dict[str, int]:
    """How often the controller planned so far, by purpose. [1]"""
    told = _page(fleet, "controller", fleet.artifact_address)
    lines = re.findall(r'^edgesplit_controller_solves_total\{.*purpose="(\w+)".*\} (\S+)$', told, re.MULTILINE)
    return {purpose: int(float(count)) for purpose, count in lines}


def _own_s(fleet: LocalFleet, name: str) -> dict[str, float]:
    """Processor time that an agent says it spent on measuring its own speed, by what for; nothing from one that does not say. [s]"""
    told = _page(fleet, name, f"127.0.0.1:{fleet.http_ports[name]}")
    lines = re.findall(r'^edgesplit_self_measurement_seconds_total\{.*work="(\w+)".*\} (\S+)$', told, re.MULTILINE)
    return {work: float(seconds) for work, seconds in lines}


def _sent_bytes(fleet: LocalFleet, names: list[str]) -> dict[tuple[str, str], int]:
    """What each agent sent on the connection that it opened to each other, as the kernel counts. [B]"""
    found: dict[tuple[str, str], int] = {}
    to = {fleet.data_ports[name]: name for name in names}
    for name in names:
        command = [*fleet.places[name].command] if name in fleet.places else []
        told = subprocess.run([*command, "ss", "-tinpH"], capture_output=True, text=True, check=True).stdout
        for head, figures in zip(*[iter(told.splitlines())] * 2, strict=False):
            port, count = re.search(r":(\d+)\s+users", head), re.search(r"bytes_sent:(\d+)", figures)
            if f"pid={fleet.pid(name)}," in head and port and count and int(port.group(1)) in to:
                found[name, to[int(port.group(1))]] = int(count.group(1))
    return found


def _nodes(count: int, *, equal: bool) -> list[EmulatedNode]:
    names = ["device", "edge", "cloud", *(f"more{index}" for index in range(count))][:count]
    return [
        EmulatedNode(name, 5.0, 2.0, slow_down=1.0 if equal else SLOW_DOWN[min(index, len(SLOW_DOWN) - 1)])
        for index, name in enumerate(names)
    ]


def _is_complete(document: dict[str, Any]) -> bool:
    """Whether nothing of a model's intake is under way any more."""
    rows = document.get("profiling", [])
    return document.get("stage", "complete") == "complete" and all(row["state"] == "done" for row in rows)


def _deploy(fleet: LocalFleet, path: Path, source: str) -> None:
    fleet.splitctl("model", "add", MODEL, str(path), "--max-quantizable", "4", timeout_s=900)
    # A release that knows no `--wait all` waits for everything by itself.
    while not _is_complete(fleet.splitctl("model", "show", MODEL)):
        time.sleep(LOOK_S)
    fleet.splitctl("deploy", MODEL, "--source", source)
    time.sleep(SETTLE_S)


@contextmanager
def _forged(url: str, count: int) -> Generator[None]:
    """Agents that only talk, in a process of their own."""
    command = [sys.executable, "-m", "bench.forged", "--broker", url, "--count", str(count)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _await_online(fleet: LocalFleet, count: int) -> None:
    for _ in range(120):
        if sum(row["online"] for row in fleet.splitctl("nodes")) >= count:
            return
        time.sleep(0.5)
    raise TimeoutError(f"not all of {count} agents came online")


def _loopback(folder: Path, path: Path, nodes: list[EmulatedNode], seconds: float) -> Idle:
    with broker(folder) as url, LocalFleet(folder, nodes, broker=url) as fleet:
        fleet.start()
        fleet.await_nodes()
        _deploy(fleet, path, "device")
        return measure(fleet, seconds)


def _many(folder: Path, path: Path, count: int, seconds: float) -> Idle:
    with broker(folder) as url, LocalFleet(folder, [], broker=url) as fleet, _forged(url, count):
        fleet.start()
        _await_online(fleet, count)
        _deploy(fleet, path, "n00")
        return measure(fleet, seconds)


def _shaped(folder: Path, path: Path, seconds: float) -> Idle:
    with Testbed(folder / "fleet", STUDY) as testbed:
        testbed.fleet.await_nodes()
        _deploy(testbed.fleet, path, "device")
        return measure(testbed.fleet, seconds)


def show(found: Idle, aim: float) -> None:
    """Print it, with the aims beside; `aim` is the controller's share of a core. [1]"""
    minutes = found.seconds / 60
    print(f"{found.seconds:.0f} s without a request; epoch {found.epochs[0]} before, {found.epochs[1]} after")
    events = sum(found.events.values())
    print(f"events: {events} ({_counts(found.events, 1.0)}); aim: at most {EVENTS_AIM} in 10 minutes")
    solves = [f"{count} for {purpose}" for purpose, count in sorted(found.solves.items())]
    print(f"solves: {', '.join(solves) or 'the controller does not say'}; aim: 0")
    print(f"messages a minute: {_counts(found.messages, minutes)}")
    print(f"controller: {found.controller_share:.2%} of a core, {found.log_lines} log lines; aim: below {aim:.0%}")
    for name, share in found.agent_shares.items():
        own = found.own_shares[name]
        parts = ", ".join(f"{work} {part:.3%}" for work, part in sorted(own.items())) or "it does not say"
        print(f"agent {name}: {share:.2%} of a core, of which measuring itself {sum(own.values()):.3%} ({parts})")
    if not found.agent_shares:
        print("agents: forged")
    if found.steadiness:
        print("machines: " + ", ".join(f"{name} {said}" for name, said in found.steadiness.items()))
    for (source, target), nbytes in sorted(found.sent_bytes.items()):
        rate = found.rates.get((source, target), 0.0)
        per_s = nbytes / found.seconds
        used = f", {per_s / rate:.3%} of its {rate / 1e6:.3g} MB/s" if rate else ""
        print(f"sent {source} -> {target}: {per_s / 1e3:.1f} kB/s{used}")
    print(f"splitctl events reaches back {found.history_s / 60:.1f} minutes")
    for text in found.texts[:TEXTS]:
        print(f"  {text}")


def _counts(counts: Counter[str], divisor: float) -> str:
    return ", ".join(f"{count / divisor:.3g} {kind}" for kind, count in counts.most_common()) or "none"


@click.command()
@click.option("--nodes", default=3, show_default=True, help="Agents on loopback.")
@click.option("--forged", default=0, metavar="N", help="N agents that only talk, instead.")
@click.option("--equal", is_flag=True, help="All agents equally fast, so that plans differ by noise alone.")
@click.option("--links", type=click.Choice(["loopback", "shaped"]), default="loopback", show_default=True)
@click.option("--shaped", is_flag=True, help="The same as --links shaped.")
@click.option("--seconds", default=600.0, show_default=True)
@click.option(
    "--code",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Checkout whose controller and agents run; default: this one.",
)
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX file; default the demo's."
)
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(  # noqa: PLR0917 - one parameter an option
    nodes: int,
    forged: int,
    equal: bool,
    links: str,
    shaped: bool,
    seconds: float,
    code: Path | None,
    model: Path | None,
    strict: bool,
) -> None:
    """Deploy a model, ask nothing, and count what the fleet does all the same.

    Example: python -m bench.idle --seconds 600; sudo .venv/bin/python -m bench.idle --shaped
    """
    if shaped:
        links = "shaped"
    if links == "shaped" and (reason := unavailable()):
        sys.exit(f"bench.idle cannot shape links: {reason}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = (code or ROOT).resolve()
    os.environ["PYTHONPATH"] = os.pathsep.join(str(root / part) for part in ("agent", "controller", "shared"))
    path = model or SHIPPED_MODEL
    try:
        with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
            folder = Path(name)
            if forged:
                found = _many(folder, path, forged, seconds)
            elif links == "shaped":
                found = _shaped(folder, path, seconds)
            else:
                found = _loopback(folder, path, _nodes(nodes, equal=equal), seconds)
    except (CommandFailed, TimeoutError) as error:
        sys.exit(f"bench.idle failed: {error}")
    aim = MANY_AIM if forged else CONTROLLER_AIM
    show(found, aim)
    per_10_minutes = sum(found.events.values()) * 600 / found.seconds
    own = max((sum(shares.values()) for shares in found.own_shares.values()), default=0.0)
    missed = found.controller_share >= aim or per_10_minutes > EVENTS_AIM or found.epochs[0] != found.epochs[1]
    sys.exit(int(strict and (missed or own > OWN_AIM)))


if __name__ == "__main__":
    main()
