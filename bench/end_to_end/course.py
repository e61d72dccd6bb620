"""One model on a running testbed: added, deployed, asked for plans, sent requests.

Owns: every step that the parts of the benchmark share. Its rule: everything goes through `splitctl`, as an operator's would.
Not here: what is wished for (`wishes.py`), what is made of it (`visits.py`), the rates of links (`lab/testbed/link_rates.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.end_to_end.plans.wishes import Wish
from bench.end_to_end.subjects import Subject
from demo.fleet import LocalFleet
from edgesplit.planning.problem import Problem
from edgesplit.planning.problem_file import load_problem
from lab.testbed.testbed import Testbed, beside

__all__ = ["SOURCE", "Course", "Served"]

SOURCE = "device"
ADD_LIMIT_S = 900.0


@dataclass(frozen=True)
class Served:
    """Requests that were answered: their median latency [s] and the epochs that answered."""

    median_s: float
    epochs: tuple[int, ...]


class Course:
    """One model on a running testbed."""

    def __init__(self, testbed: Testbed, subject: Subject) -> None:
        self._testbed = testbed
        self._fleet: LocalFleet = testbed.fleet
        self._request = subject.request
        self._path = subject.path
        self._full_noise = 0.0
        self.name = subject.name

    def deploy(self, candidates: int) -> None:
        """Add and deploy the model.

        Args:
            candidates: How many operators may be quantized.
        """
        options = ["--max-quantizable", str(candidates)]
        added = self._fleet.splitctl(
            "model", "add", "--wait", "all", self.name, str(self._path), *options, timeout_s=ADD_LIMIT_S
        )
        self._full_noise = float((added["noise_model"] or {}).get("full_noise") or 0.0)
        self._fleet.splitctl("deploy", self.name, "--source", SOURCE)

    def problem(self, folder: Path) -> Problem:
        """What its plan solves, for the units and what each takes."""
        path = folder / f"{self.name}.problem.json"
        self._fleet.splitctl("plan", self.name, "--export", str(path))
        return load_problem(path)

    def profile(self) -> None:
        """Have every node profile it once more."""
        self._fleet.splitctl("model", "profile", self.name, timeout_s=ADD_LIMIT_S)

    def ask(self, wish: Wish) -> dict[str, Any]:
        """Set pins, forbidden nodes and goals; the plan that serves then, before its first request."""
        before = self.plan()
        for node in before["forbidden"]:
            if node != wish.forbidden:
                self._fleet.splitctl("allow", node, "--model", self.name)
        if before["pins"]:
            self._fleet.splitctl("unpin", self.name, "--all")
        if wish.forbidden and wish.forbidden not in before["forbidden"]:
            self._fleet.splitctl("forbid", wish.forbidden, "--model", self.name)
        if wish.first:
            self._fleet.splitctl("pin", self.name, "--first", str(wish.first), "--node", SOURCE)
        for node, patterns in wish.pins:
            self._fleet.splitctl("pin", self.name, *patterns, "--node", node)
        self.set_goals(1 - wish.energy, wish.energy, wish.noise)
        return self.plan()

    def set_goals(self, latency: float, energy: float, noise: float) -> None:
        """Weights, and a bound as a share of the noise of everything quantized; returns when the plan serves."""
        bound = f"{noise * self._full_noise:.9f}"
        weights = ("--latency", str(latency), "--energy", str(energy), "--max-noise", bound)
        self._fleet.splitctl("set-weights", *weights, "--model", self.name)

    def plan(self) -> dict[str, Any]:
        """The active plan's document."""
        plan: dict[str, Any] = self._fleet.splitctl("plan", self.name)
        return plan

    def infer(self, count: int) -> Served:
        """Requests one after another, beside the source's agent but not in its share of the processor."""
        arguments = ("infer", self.name, "--input", str(self._request), "--count", str(count))
        document = self._fleet.splitctl(*arguments, at=beside(SOURCE))
        return Served(float(document["latency_s"]["p50"]), tuple(document["epochs"]))

    def events(self) -> list[dict[str, Any]]:
        """What happened so far."""
        events: list[dict[str, Any]] = self._fleet.splitctl("events")
        return events

    @contextmanager
    def traffic(self, *, enabled: bool) -> Iterator[None]:
        """Requests one after another from the device, as long as the block lasts."""
        if not enabled:
            yield
            return
        with self._testbed.requests(self.name, self._request):
            time.sleep(2.0)
            yield

    @contextmanager
    def only_on(self, node: str) -> Iterator[None]:
        """Compute everything on one node as long as the block lasts."""
        self._fleet.splitctl("pin", self.name, "*", "--node", node)
        try:
            yield
        finally:
            self._fleet.splitctl("unpin", self.name, "*")
