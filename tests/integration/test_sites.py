"""Two sites of real agents: links lie within a site until a deployment selects another one's nodes, and requests are served throughout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.fleet import EmulatedNode, LocalFleet
from tests.waiting import blocking_until

HOME, WORK = {"site": "home"}, {"site": "work"}
NODES = (
    EmulatedNode("cam", 3.0, 3.5, slow_down=4.0, labels=HOME),
    EmulatedNode("hub", 6.0, 2.0, slow_down=3.0, labels=HOME),
    EmulatedNode("far", 6.0, 2.0, labels=WORK),
)


@pytest.fixture(scope="module")
def sites(mosquitto: str, tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[LocalFleet]:
    """The agents, with a model."""
    with LocalFleet(tmp_path_factory.mktemp("sites"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        running.splitctl("model", "add", "net", str(small_model), "--max-quantizable", "1")
        yield running


def measured(fleet: LocalFleet) -> set[tuple[str, str]]:
    """Directions that have a measurement and are up."""
    return {(row["from"], row["to"]) for row in fleet.splitctl("links") if row["latency_s"] is not None and row["up"]}


def both(first: str, second: str) -> set[tuple[str, str]]:
    return {(first, second), (second, first)}


def test_links_are_measured_within_a_site_and_further_ones_once_they_are_selected(
    sites: LocalFleet, image: Path
) -> None:
    blocking_until(lambda: measured(sites) == both("cam", "hub"), "the links at home are measured, and no others")
    sites.splitctl("deploy", "net", "--source", "cam")
    assert set(sites.splitctl("plan", "net")["candidates"]) == {"cam", "hub"}
    assert sites.splitctl("infer", "net", "--input", str(image), "--count", "3")["failed"] == 0
    sites.splitctl("deploy", "net", "--source", "cam", "--on", "site=work")
    blocking_until(lambda: both("cam", "far") <= measured(sites), "the link to the other site is measured")
    blocking_until(
        lambda: set(sites.splitctl("plan", "net")["candidates"]) == {"cam", "far"}, "plans choose among the selected"
    )
    assert sites.splitctl("infer", "net", "--input", str(image), "--count", "3")["failed"] == 0
