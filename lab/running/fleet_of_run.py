"""The fleet of a run: its testbed and the models on it, first with plans that stay, then with plans that follow the world.

Owns: starting machines, adding each model once, freeing the controller between both halves of a run. Its rule: while cells are measured
no plan is replaced by itself, for it is held to what it predicted; nothing of that is left when the world is changed. Not here: what is
measured (`visiting`, `plays.py`), commands (`deployment.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from lab.running.deployment import Added, DeployedModel
from lab.running.layout import layout_of
from lab.running.prepared_models import PreparedModel
from lab.scenarios.scenario import Scenario
from lab.testbed.link_rates import LinkRates
from lab.testbed.requirements import TestbedUnavailable
from lab.testbed.testbed import Testbed

__all__ = ["FleetOfRun", "running_fleet"]

STAYS = "change_threshold = 1000.0\ngain_threshold = 1000.0\nshadow_requests = 0\nshadow_every_s = 0.0"
"""Sources check no requests against the float model meanwhile, beside those that are measured: the lab does that itself."""
TIMINGS = "timings.jsonl"
"""In the fleet's folder, for `python -m bench.estimator --recording`."""


class FleetOfRun:
    """A testbed and its models.

    Args:
        testbed: It runs.
        scenario: Whose it is.
        doing: Told what is being waited for.
    """

    def __init__(self, testbed: Testbed, scenario: Scenario, doing: Callable[[str], None]) -> None:
        self.testbed = testbed
        self._scenario = scenario
        self._doing = doing
        self._deployed: dict[str, DeployedModel] = {}

    def add(self, model: PreparedModel) -> Added:
        """Add and deploy a model; returns when everything is known of it."""
        deployed = DeployedModel(self.testbed, model, self._scenario.source)
        added = deployed.add(self._doing)
        self._deployed[model.name] = deployed
        return added

    def __contains__(self, model: str) -> bool:
        """Whether a model was added."""
        return model in self._deployed

    def deployed(self, model: str) -> DeployedModel:
        """One that was added."""
        return self._deployed[model]

    def await_links(self, say: Callable[[str], None]) -> None:
        """Wait until agents believe links to be what they are set to."""
        self._doing("links are measured")
        LinkRates(self.testbed, say).await_believed()

    def check(self) -> None:
        """Make sure that everything that was started runs.

        Raises:
            TestbedUnavailable: A process ended by itself.
        """
        if gone := self.testbed.fleet.ended():
            raise TestbedUnavailable(f"{', '.join(gone)} ended by itself: see {self.testbed.fleet.folder / 'logs'}")

    def free(self, model: str) -> None:
        """Let plans of one model follow the world again: the controller starts anew as it is configured by itself."""
        self._doing("the controller starts anew")
        fleet = self.testbed.fleet
        for name, deployed in self._deployed.items():
            if name == model:
                deployed.use(self._scenario.machines)
            else:
                fleet.splitctl("undeploy", name)
        if fleet.planning:
            fleet.kill("controller")
            fleet.planning = ""
            fleet.start_controller()
            fleet.await_nodes()


@contextmanager
def running_fleet(
    scenario: Scenario, folder: Path, doing: Callable[[str], None], *, stays: bool
) -> Generator[FleetOfRun]:
    """Machines of a scenario, with a controller that knows nothing yet.

    Args:
        scenario: Which.
        folder: For everything of them; emptied first.
        doing: Told what is being waited for.
        stays: Plans are not replaced by themselves until `free`.

    Raises:
        TestbedUnavailable: This machine cannot carry them.
    """
    doing("machines start")
    shutil.rmtree(folder, ignore_errors=True)
    # What nodes' speeds were estimated from while cells were measured: a belief that was wrong can be replayed.
    planning = f'{STAYS}\nrecord_timings = "{(folder / TIMINGS).absolute()}"' if stays else ""
    with Testbed(folder, layout_of(scenario), planning=planning, traced=stays) as testbed:
        testbed.fleet.await_nodes()
        yield FleetOfRun(testbed, scenario, doing)
