"""One model on a running testbed, used through `splitctl` as an operator would: added, deployed, asked for plans.

Owns: the commands and what is waited for. Its rule: nothing of the controller is reached around `splitctl`; a command that fails
is raised with its own sentence. Not here: what is measured meanwhile (`visiting`), files of models (`prepared_models.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesplit.planning.problem import Problem
from edgesplit.planning.problem_file import load_problem
from lab.running.prepared_models import PreparedModel
from lab.scenarios.scenario import Weights
from lab.testbed.testbed import Testbed

__all__ = ["Added", "DeployedModel", "Served"]

ADD_LIMIT_S = 1800.0
NONE_COMES_S = 1.5
"""A plan that has no fallback so long after it began to serve has none. [s]"""
POLL_S = 1.0
"""Between two looks: a command's start takes half a second of a core. [s]"""


@dataclass(frozen=True)
class Added:
    """How a model was added.

    Attributes:
        document: Of `splitctl model show`, once everything is known.
        add_s: Until it could be deployed in float. [s]
        profile_s: Until every node had profiled it. [s]
    """

    document: Mapping[str, Any]
    add_s: float
    profile_s: float


@dataclass(frozen=True)
class Served:
    """A plan that serves, before its first request.

    Attributes:
        document: Of `splitctl plan`.
        deploy_s: From the command until it served; None where it served already. [s]
    """

    document: Mapping[str, Any]
    deploy_s: float | None


class DeployedModel:
    """One model on a testbed.

    Args:
        testbed: A running one.
        model: Which.
        source: Where its requests arise.
    """

    def __init__(self, testbed: Testbed, model: PreparedModel, source: str) -> None:
        self._testbed, self._fleet = testbed, testbed.fleet
        self._machines = [machine.name for machine in testbed.layout.machines]
        self._model = model
        self._source = source
        self._epoch = 0
        self._forbidden: frozenset[str] = frozenset()
        self.name = model.name

    def add(self, say: Callable[[str], None]) -> Added:
        """Add it, wait until all is known of it, deploy it.

        Args:
            say: Told how far that is.

        Raises:
            TimeoutError: It takes too long.
            CommandFailed: It is refused.
        """
        model, began = self._model, time.monotonic()
        options = ["--max-quantizable", str(model.max_quantizable)]
        if model.calibration is not None:
            options += ["--calibration", str(model.calibration)]
        self._fleet.splitctl("model", "add", self.name, str(model.path), *options, timeout_s=ADD_LIMIT_S)
        add_s = time.monotonic() - began
        profiled_s: float | None = None
        while True:
            shown = self._fleet.splitctl("model", "show", self.name)
            now_s = time.monotonic() - began
            complete = shown["stage"] == "complete"
            if complete and set(shown["profiled"]) >= set(self._machines) and _all_done(shown):
                profiled_s = now_s
                break
            if now_s > ADD_LIMIT_S:
                raise TimeoutError(f"{self.name} was not profiled and looked into within {ADD_LIMIT_S:.0f} s")
            completion = shown["completion"]
            if completion is not None and completion["attempts"] > 2:
                raise TimeoutError(f"{self.name} cannot be completed: {completion['reason']}")
            say(f"{self.name}: {_progress(shown)}")
            time.sleep(POLL_S)
        self._fleet.splitctl("deploy", self.name, "--source", self._source)
        return Added(shown, add_s, profiled_s)

    def profile_again(self) -> None:
        """Have every node time it once more; returns when they have."""
        self._fleet.splitctl("model", "profile", self.name, timeout_s=ADD_LIMIT_S)

    def use(self, nodes: Sequence[str]) -> None:
        """Let these nodes compute and no others; each command plans again."""
        wanted = frozenset(self._machines) - set(nodes)
        for node in sorted(self._forbidden - wanted):
            self._fleet.splitctl("allow", node, "--model", self.name)
        for node in sorted(wanted - self._forbidden):
            self._fleet.splitctl("forbid", node, "--model", self.name)
        self._forbidden = wanted

    def ask_for(self, weights: Weights, max_noise: float) -> Served:
        """Set goals; returns when their plan serves."""
        latency, energy = weights
        goals = ("--latency", f"{latency:g}", "--energy", f"{energy:g}", "--max-noise", f"{max_noise:.9g}")
        return self._served("set-weights", *goals, "--model", self.name)

    def give(self, plan: Path) -> Served:
        """Serve a plan of a file; returns when it does."""
        return self._served("deploy", self.name, "--source", self._source, "--plan", str(plan))

    def await_fallbacks(self) -> None:
        """Wait, within a limit, until what would serve when a node is lost is ready, too: planning and packing take the cores meanwhile."""
        self._testbed.await_fallbacks(self.name, none_comes_s=NONE_COMES_S)

    def export(self, path: Path) -> Problem:
        """The problem that the present goals pose, also as a file."""
        self._fleet.splitctl("plan", self.name, "--export", str(path))
        return load_problem(path)

    def plan(self) -> dict[str, Any]:
        """The active plan's document."""
        document: dict[str, Any] = self._fleet.splitctl("plan", self.name)
        return document

    def _served(self, *command: str) -> Served:
        began = time.monotonic()
        self._fleet.splitctl(*command)
        deploy_s = time.monotonic() - began
        plan = self.plan()
        moved = plan["epoch"] != self._epoch
        self._epoch = plan["epoch"]
        return Served(plan, deploy_s if moved else None)


def _all_done(shown: Mapping[str, Any]) -> bool:
    return all(row["state"] == "done" for row in shown["profiling"])


def _progress(shown: Mapping[str, Any]) -> str:
    completion = shown["completion"]
    if completion is not None:
        return f"{completion['what']}, {completion['fraction']:.0%}"
    return ", ".join(f"{row['node']} {row['state']} {row['fraction']:.0%}" for row in shown["profiling"])
