"""Strategies of a scenario played on its testbed, one at a time, and what follows from all of them.

Owns: the way from a scenario's tables to `lab/dynamics`. Its rule: a play that was made is not made again. Not here: plays themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lab.dynamics.comparison import Comparison, dynamic_runs
from lab.dynamics.conditions import Wanted
from lab.dynamics.outcome.observations import PlayedRun
from lab.dynamics.script import Script, script_of
from lab.play_results import DynamicRun
from lab.running.prepared_models import PreparedModel
from lab.scenarios.scenario import DynamicsSpec, Scenario
from lab.testbed.testbed import Testbed

__all__ = ["Plays", "runs_of"]


class Plays:
    """All strategies of a scenario on a running testbed.

    Args:
        scenario: It has dynamics.
        testbed: With the model added and deployed.
        model: Which.
        folder: For plans and observations.
        say: Told what happens.
    """

    def __init__(
        self, scenario: Scenario, testbed: Testbed, model: PreparedModel, folder: Path, say: Callable[[str], None]
    ) -> None:
        dynamics = _dynamics(scenario)
        self._played: dict[str, PlayedRun] = {}
        self._comparison = Comparison(
            testbed=testbed,
            model=model.name,
            request=model.request,
            script=_script(scenario),
            folder=folder,
            source=scenario.source,
            wanted=_wanted(dynamics),
            requests_per_s=dynamics.requests_per_s,
            say=say,
        )

    def remember(self, run: PlayedRun) -> None:
        """A play of an earlier run."""
        self._played[run.strategy] = run

    def play(self, strategy: str) -> PlayedRun:
        """Put a strategy through the script.

        Raises:
            OracleFailed: No plan keeps the constraints in some interval.
            CommandFailed: The strategy's first plan cannot be served.
        """
        run = next(self._comparison.play([strategy], self._played))
        self.remember(run)
        return run


def runs_of(scenario: Scenario, played: Sequence[PlayedRun]) -> list[DynamicRun]:
    """What came of the plays so far."""
    if scenario.dynamics is None or not played:
        return []
    return dynamic_runs(played, _script(scenario), _wanted(scenario.dynamics))


def _dynamics(scenario: Scenario) -> DynamicsSpec:
    assert scenario.dynamics is not None
    return scenario.dynamics


def _script(scenario: Scenario) -> Script:
    return script_of(scenario.change, _dynamics(scenario).duration_s)


def _wanted(dynamics: DynamicsSpec) -> Wanted:
    latency, energy = dynamics.weights
    return Wanted(latency=latency, energy=energy, max_noise=dynamics.max_noise)
