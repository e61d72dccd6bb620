"""How well predictions hold on real links, and how soon changes are noticed (Linux, root).

Owns: the runs over three agents on the testbed, and the tables. Its rule: what is compared is what an operator sees, the
plan's predicted latency and the median latency of warm requests of `splitctl infer` on the source's machine. Not here:
machines and links (`testbed/`).
"""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.random_plans import random_inputs
from bench.testbed.requirements import TestbedUnavailable, unavailable
from bench.testbed.testbed import Testbed
from demo import shapes
from demo.fleet import CommandFailed, LocalFleet
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importer import import_model

__all__ = ["main"]

DEMO_MODEL = Path(__file__).resolve().parents[1] / "demo" / "shapes.onnx"
SOURCE = "device"
GOALS = (
    (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.1),
    (1.0, 0.0, 0.3),
    (1.0, 0.0, 1.0),
    (0.3, 0.7, 0.0),
    (0.3, 0.7, 0.3),
    (0.0, 1.0, 1.0),
)
"""Weight of latency, weight of energy, noise bound as a share of the noise of everything quantized."""
FORBIDDEN = (None, "edge", "cloud")
"""A node to do without, so that the farther and the slower one are used too."""
RATES = (1.0, 0.7, 0.5, 0.25)
"""Factors on the rate of every link."""
SETTLE_S = 3.0
"""The controller's own answer to a change of links comes before the next change."""
WARM_UP, REQUESTS = 4, 15
BELIEVED_WITHIN = 0.1
BELIEVED_LIMIT_S = 15.0
NOTICED_LIMIT_S = 20.0
RECOVERED_LIMIT_S = 60.0
"""Where the plan moved away from a node, its recovery shows only once it is timed again. [s]"""
MEAN_ERROR_AIM, WORST_ERROR_AIM = 0.03, 0.08


@dataclass(frozen=True)
class Model:
    """A model to measure: its file, a request, and calibration samples where it has some."""

    name: str
    path: Path
    request: Path
    calibration: Path | None = None


@dataclass(frozen=True)
class Row:
    """One plan: where its operators are, what was predicted, what was measured. [s]"""

    model: str
    rates: float
    shares: str
    quantized: int
    components: int
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured. [1]"""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True)
class Noticed:
    """A change and when it was noticed and answered; None: not within the limit. [s]"""

    change: str
    noticed_s: float | None
    replanned_s: float | None
    text: str


class Course:
    """The measurements of one model on a running testbed."""

    def __init__(self, testbed: Testbed, model: Model) -> None:
        self._testbed = testbed
        self._fleet: LocalFleet = testbed.fleet
        self._model = model
        self._rates = {pair: testbed.shape(*pair).rate_bytes_per_s for pair in testbed.pairs}

    def deploy(self, candidates: int) -> float:
        """Add and deploy the model; the noise of everything quantized."""
        options = ["--max-quantizable", str(candidates)]
        if self._model.calibration is not None:
            options += ["--calibration", str(self._model.calibration)]
        added = self._fleet.splitctl("model", "add", self._model.name, str(self._model.path), *options, timeout_s=900)
        self._fleet.splitctl("deploy", self._model.name, "--source", SOURCE)
        return float((added["noise_model"] or {}).get("full_noise") or 0.0)

    def remove(self) -> None:
        """Make room for the next model."""
        self._fleet.splitctl("model", "remove", self._model.name)

    def predictions(self, full_noise: float) -> list[Row]:
        """Every plan that the goals and rates above lead to, once."""
        rows: list[Row] = []
        seen: set[tuple[Any, ...]] = set()
        for factor in RATES:
            self._set_rates(factor)
            for forbidden in FORBIDDEN:
                with self._without(forbidden):
                    for latency, energy, share in GOALS:
                        self._set_goals(latency, energy, share * full_noise)
                        plan = self._plan()
                        if (signature := (factor, *_signature(plan))) not in seen:
                            seen.add(signature)
                            rows.append(self._row(factor, plan))
                            _say(f"{rows[-1].shares}: {rows[-1].error:+.1%}")
        self._set_rates(1.0)
        return rows

    def changes(self) -> list[Noticed]:
        """Halve rates and a quota, each time from a state that has settled."""
        self._set_goals(1.0, 0.0, 0.0)
        found: list[Noticed] = []
        for traffic in (True, False):
            self._set_rates(1.0)
            how = "under traffic" if traffic else "idle"
            with self._traffic(enabled=traffic):
                for peer in ("edge", "cloud"):
                    self._testbed.set_rate(SOURCE, peer, self._rates[SOURCE, peer] / 2)
                found.append(self._watch(f"the device's links halved, {how}", "link-changed", SOURCE))
        self._set_rates(1.0)
        for name in self._limited():
            found += self._halve_quota(name)
        return found

    def _limited(self) -> list[str]:
        """Machines whose quota is what slows them."""
        machines = self._testbed.layout.machines
        return [machine.name for machine in machines if machine.share.cores is not None and machine.slow_down == 1.0]

    def _halve_quota(self, name: str) -> list[Noticed]:
        """Halve a quota and give it back, each time until that is noticed."""
        cores = next(machine.share.cores for machine in self._testbed.layout.machines if machine.name == name)
        if cores is None:
            raise ValueError(f"machine {name} of this layout has no quota to halve")
        with self._traffic(enabled=True):
            self._testbed.set_quota(name, cores / 2)
            try:
                halved = self._watch(f"the quota of {name} halved, under traffic", "profile-changed", name)
                time.sleep(SETTLE_S)
            finally:
                self._testbed.set_quota(name, cores)
            change = f"the quota of {name} as before, under traffic"
            return [halved, self._watch(change, "profile-changed", name, RECOVERED_LIMIT_S)]

    def _watch(self, change: str, kind: str, node: str, limit_s: float = NOTICED_LIMIT_S) -> Noticed:
        """Wait for an event of this kind that names the node, then for the decision that follows it."""
        begin, begin_unix_s = time.monotonic(), time.time()
        noticed_s, replanned_s, text = None, None, ""
        while replanned_s is None and time.monotonic() - begin < limit_s:
            for event in self._fleet.splitctl("events"):
                after_s = event["at_unix_s"] - begin_unix_s
                if after_s < 0:
                    continue
                if noticed_s is None and event["kind"] == kind and node in (event["node"] or event["text"]):
                    noticed_s, text = after_s, event["text"]
                if noticed_s is not None and event["kind"] in {"planned", "replan-declined"} and replanned_s is None:
                    replanned_s, text = after_s, f"{text}; {event['text']}"
            time.sleep(0.2)
        return Noticed(change, noticed_s, replanned_s, text)

    @contextmanager
    def _traffic(self, *, enabled: bool) -> Iterator[None]:
        """Requests one after another from the device, as long as the block lasts."""
        if not enabled:
            yield
            return
        with self._testbed.requests(self._model.name, self._model.request):
            time.sleep(2.0)
            yield

    @contextmanager
    def _without(self, node: str | None) -> Iterator[None]:
        """Plan without a node as long as the block lasts."""
        if node is None:
            yield
            return
        self._fleet.splitctl("forbid", node, "--model", self._model.name)
        try:
            yield
        finally:
            self._fleet.splitctl("allow", node, "--model", self._model.name)

    def _row(self, factor: float, plan: dict[str, Any]) -> Row:
        self._infer(WARM_UP)
        measured_s = self._infer(REQUESTS)
        shares = ", ".join(
            f"{name} {part['operators']}" for name, part in plan["per_node"].items() if part["operators"]
        )
        return Row(
            self._model.name,
            factor,
            shares,
            len(plan["quantized"]),
            len(plan["components"]),
            plan["latency_s"],
            measured_s,
        )

    def _infer(self, count: int) -> float:
        arguments = ("infer", self._model.name, "--input", str(self._model.request), "--count", str(count))
        return float(self._fleet.splitctl(*arguments, at=SOURCE)["latency_s"]["p50"])

    def _plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = self._fleet.splitctl("plan", self._model.name)
        return plan

    def _set_goals(self, latency: float, energy: float, noise: float) -> None:
        weights = ("--latency", str(latency), "--energy", str(energy), "--max-noise", f"{noise:.9f}")
        self._fleet.splitctl("set-weights", *weights, "--model", self._model.name)

    def _set_rates(self, factor: float) -> None:
        """Change every link's rate and wait until the agents believe it, as planning takes what they say."""
        for (source, target), rate in self._rates.items():
            self._testbed.set_rate(source, target, rate * factor)
        _await(self.settled, BELIEVED_LIMIT_S)
        time.sleep(SETTLE_S)

    def settled(self) -> bool:
        believed = {(row["from"], row["to"]): row["bandwidth_bytes_per_s"] for row in self._fleet.splitctl("links")}
        return all(
            abs(believed.get(pair, 0.0) / self._testbed.shape(*pair).rate_bytes_per_s - 1) <= BELIEVED_WITHIN
            for pair in self._rates
        )


def _signature(plan: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one plan from another."""
    where = tuple(sorted((part["node"], tuple(part["operators"])) for part in plan["components"]))
    return where, tuple(sorted(plan["quantized"])), tuple(sorted(plan["codecs"].items()))


def _await(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            _say(f"not every link is believed within {BELIEVED_WITHIN:.0%} after {limit_s:.0f} s; measuring goes on")
            return
        time.sleep(0.5)


def _models(folder: Path | None, into: Path) -> Iterator[Model]:
    """The demo model, then those of the folder."""
    calibration, request = into / "calibration.npz", into / "request.npz"
    _save(calibration, shapes.calibration(32))
    _save(request, {name: array[:1] for name, array in shapes.held_out(1).inputs.items()})
    yield Model("shapes", DEMO_MODEL, request, calibration)
    for path in sorted(folder.glob("*.onnx")) if folder is not None else ():
        graph = import_model(path, BlobStore(into / f"blobs-{path.stem}"))
        own = into / f"{path.stem}.npz"
        _save(own, random_inputs(graph, seed=1))
        yield Model(path.stem, path, own)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show_links(testbed: Testbed) -> Table:
    table = Table("link", "rate set", "measured", "delay set", "measured", title="Links")
    for row in testbed.fleet.splitctl("links"):
        shape = testbed.shape(row["from"], row["to"])
        table.add_row(
            f"{row['from']} to {row['to']}",
            f"{shape.rate_bytes_per_s / 1e6:.1f} MB/s",
            f"{row['bandwidth_bytes_per_s'] / 1e6:.2f} MB/s",
            f"{shape.delay_s * 1e3:.0f} ms",
            f"{row['latency_s'] * 1e3:.2f} ms",
        )
    return table


def _show_rows(rows: list[Row]) -> Table:
    table = Table("model", "rates", "operators on", "int8", "components", "predicted", "measured", "error")
    for row in rows:
        table.add_row(
            row.model,
            f"x {row.rates:g}",
            row.shares,
            str(row.quantized),
            str(row.components),
            f"{row.predicted_s * 1e3:.1f} ms",
            f"{row.measured_s * 1e3:.1f} ms",
            f"{row.error:+.1%}",
        )
    return table


def _show_noticed(noticed: list[Noticed]) -> Table:
    table = Table("change", "noticed after", "decided after", "what was said")
    for entry in noticed:
        after = [f"{s:.1f} s" if s is not None else "not noticed" for s in (entry.noticed_s, entry.replanned_s)]
        table.add_row(entry.change, *after, entry.text)
    return table


@click.command()
@click.option(
    "--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of more ONNX files."
)
@click.option("--candidates", default=12, show_default=True, help="Operators that may be quantized.")
@click.option("--keep-logs", type=click.Path(path_type=Path), help="Folder for the daemons' logs; default: removed.")
@click.option("--only-changes", is_flag=True, help="Leave the plans out: only seconds until changes are noticed.")
@click.option("--strict", is_flag=True, help="Exit 1 where the errors exceed what is aimed at.")
def main(models: Path | None, candidates: int, keep_logs: Path | None, only_changes: bool, strict: bool) -> None:
    """Predicted against measured latency on shaped links, and seconds until changes are noticed.

    Example: sudo .venv/bin/python -m bench.end_to_end --models ~/onnx
    """
    if reason := unavailable():
        sys.exit(f"bench.end_to_end cannot run: {reason}")
    # Ending it politely must leave nothing behind; Python ends on SIGTERM without leaving its blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console, rows = Console(width=150), list[Row]()
    try:
        with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
            into = Path(name)
            with Testbed(keep_logs or into / "fleet") as testbed:
                testbed.fleet.await_nodes()
                for model in _models(models, into):
                    course = Course(testbed, model)
                    full_noise = course.deploy(candidates)
                    _await(course.settled, BELIEVED_LIMIT_S)
                    console.print(_show_links(testbed))
                    if not only_changes:
                        found = course.predictions(full_noise)
                        rows += found
                        console.print(_show_rows(found))
                    console.print(_show_noticed(course.changes()))
                    course.remove()
    except (CommandFailed, TestbedUnavailable, TimeoutError) as error:
        sys.exit(f"bench.end_to_end failed: {error}")
    if not rows:
        return
    errors = [abs(row.error) for row in rows]
    mean, worst = statistics.mean(errors), max(errors)
    console.print(
        f"{len(rows)} plans: mean error {mean:.1%} (aim {MEAN_ERROR_AIM:.0%}), "
        f"median {statistics.median(errors):.1%}, worst {worst:.1%} (aim {WORST_ERROR_AIM:.0%})"
    )
    sys.exit(int(strict and (mean > MEAN_ERROR_AIM or worst > WORST_ERROR_AIM)))


if __name__ == "__main__":
    main()
