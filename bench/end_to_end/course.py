"""One model on a running testbed: deploy it, set what a run needs, send requests, predict and measure plans.

Owns: every step that predictions and changes share, and the rows of predictions. Its rule: the prediction a plan is held
to is read before its first request leaves; what it predicts once live timings saw the warm-up stands beside it. Not here:
changes of speed and links (`changes.py`), tables (`tables.py`).
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.testbed.testbed import Testbed, beside
from demo.fleet import LocalFleet

__all__ = ["SETTLE_S", "SOURCE", "Course", "Model", "Row", "say"]

SOURCE = "device"
GOALS = (
    (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.1),
    (1.0, 0.0, 0.4),
    (1.0, 0.0, 1.0),
    (0.5, 0.5, 0.2),
    (0.3, 0.7, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 1.0, 1.0),
)
"""Weight of latency, weight of energy, noise bound as a share of the noise of everything quantized."""
GOALS_WHEN_CUT = (GOALS[0], GOALS[2])
FORBIDDEN = ("", "edge", "cloud")
"""A node to do without, so that the farther and the slower one are used too."""
FIRST = (0, 120)
"""Operators that stay on the source, so that tensors inside the model travel too: the best plans of a network whose first
tensors are larger than its input do not cut it."""
RATES = (1.0, 0.5, 0.25)
"""Factors on the rate of every link, falling: TCP itself learns of a faster link only from traffic."""
SETTLE_S = 3.0
"""The controller's own answer to a change of links comes before the next change."""
WARM_UP, REQUESTS = 5, 11
CORRECTED_AFTER_S = 3.0
"""Agents report once a second, and the controller refreshes predictions every other one. [s]"""
POLL_S = 2.0
"""Between two looks at what the controller says: a command's start takes half a second of a core. [s]"""
BELIEVED_WITHIN = 0.1
BELIEVED_LIMIT_S = 150.0
"""Idle links of 100 MB/s and 55 ms are probed every minute and a half (`edgesplit_agent/dataplane/measurement/probing.py`)."""


@dataclass(frozen=True)
class Model:
    """A model to measure: its file and a request."""

    name: str
    path: Path
    request: Path


@dataclass(frozen=True)
class Row:
    """One plan: where its operators are, what was predicted, what was measured. [s]"""

    model: str
    rates: float
    shares: str
    quantized: int
    components: int
    predicted_s: float
    corrected_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured. [1]"""
        return self.predicted_s / self.measured_s - 1

    @property
    def corrected_error(self) -> float:
        """The same once live timings of the warm-up corrected it. [1]"""
        return self.corrected_s / self.measured_s - 1


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
            self.set_rates(factor)
            for first, forbidden in itertools.product(FIRST, FORBIDDEN):
                with self.without(forbidden), self.at_source(first):
                    for latency, energy, share in GOALS if not first else GOALS_WHEN_CUT:
                        self.set_goals(latency, energy, share * full_noise)
                        plan = self._plan()
                        if (signature := (factor, *_signature(plan))) not in seen:
                            seen.add(signature)
                            rows.append(self._row(factor, plan))
                            say(f"{rows[-1].shares}: {rows[-1].error:+.1%} (corrected {rows[-1].corrected_error:+.1%})")
        return rows

    @contextmanager
    def traffic(self, *, enabled: bool) -> Iterator[None]:
        """Requests one after another from the device, as long as the block lasts."""
        if not enabled:
            yield
            return
        with self._testbed.requests(self._model.name, self._model.request):
            time.sleep(2.0)
            yield

    @contextmanager
    def without(self, node: str) -> Iterator[None]:
        """Plan without a node, unless it is none, as long as the block lasts."""
        if node:
            self._fleet.splitctl("forbid", node, "--model", self._model.name)
        try:
            yield
        finally:
            if node:
                self._fleet.splitctl("allow", node, "--model", self._model.name)

    @contextmanager
    def at_source(self, first: int) -> Iterator[None]:
        """Keep so many operators, the first ones, on the source as long as the block lasts."""
        if first:
            self._fleet.splitctl("pin", self._model.name, "--first", str(first), "--node", SOURCE)
        try:
            yield
        finally:
            if first:
                self._fleet.splitctl("unpin", self._model.name, "--first")

    @contextmanager
    def only_on(self, node: str) -> Iterator[None]:
        """Compute everything on one node as long as the block lasts."""
        self._fleet.splitctl("pin", self._model.name, "*", "--node", node)
        try:
            yield
        finally:
            self._fleet.splitctl("unpin", self._model.name, "*")

    def _row(self, factor: float, plan: dict[str, Any]) -> Row:
        self._infer(WARM_UP)
        time.sleep(CORRECTED_AFTER_S)
        corrected_s = float(self._plan()["latency_s"])
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
            corrected_s,
            measured_s,
        )

    def _infer(self, count: int) -> float:
        arguments = ("infer", self._model.name, "--input", str(self._model.request), "--count", str(count))
        return float(self._fleet.splitctl(*arguments, at=beside(SOURCE))["latency_s"]["p50"])

    def _plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = self._fleet.splitctl("plan", self._model.name)
        return plan

    def set_goals(self, latency: float, energy: float, noise: float) -> None:
        """Weights and an absolute noise bound; returns when the plan serves."""
        weights = ("--latency", str(latency), "--energy", str(energy), "--max-noise", f"{noise:.9f}")
        self._fleet.splitctl("set-weights", *weights, "--model", self._model.name)

    def set_rates(self, factor: float) -> None:
        """Change every link's rate and wait until the agents believe it, as planning takes what they say."""
        for (source, target), rate in self._rates.items():
            self._testbed.set_rate(source, target, rate * factor)
        self.await_links()
        time.sleep(SETTLE_S)

    def await_links(self) -> None:
        """Wait until every link is believed to be what it is set to."""
        deadline = time.monotonic() + BELIEVED_LIMIT_S
        while not self._settled():
            if time.monotonic() > deadline:
                say(f"not every link is believed within {BELIEVED_WITHIN:.0%} after {BELIEVED_LIMIT_S:.0f} s")
                return
            time.sleep(POLL_S)

    def events(self) -> list[dict[str, Any]]:
        """What happened so far."""
        events: list[dict[str, Any]] = self._fleet.splitctl("events")
        return events

    def _settled(self) -> bool:
        believed = {
            (row["from"], row["to"]): row["bandwidth_bytes_per_s"]
            for row in self._fleet.splitctl("links")
            if row["latency_s"] is not None
        }
        return all(
            abs(believed.get(pair, 0.0) / self._testbed.shape(*pair).rate_bytes_per_s - 1) <= BELIEVED_WITHIN
            for pair in self._rates
        )


def _signature(plan: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one plan from another."""
    where = tuple(sorted((part["node"], tuple(part["operators"])) for part in plan["components"]))
    return where, tuple(sorted(plan["quantized"])), tuple(sorted(plan["codecs"].items()))


def say(text: str) -> None:
    """Tell how far the run came."""
    print(text, file=sys.stderr, flush=True)
