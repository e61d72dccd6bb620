"""How steady nodes are: what people, programs and Prometheus are told of it."""

from __future__ import annotations

import aiohttp
import pytest

from edgesplit.control.figure_messages import Steadiness
from edgesplit.operations.fleet_operations import ListNodes, NodeRow
from edgesplit_controller.cli.views.tables import show_nodes
from tests.controller.fleet import Fleet
from tests.waiting import until

RESTLESS = Steadiness(
    seconds_spread=0.08,
    minutes_spread=0.06,
    rested_spread=0.02,
    rested_ratio=1.1,
    regime="restless",
    stolen=0.051,
    samples=300,
)


async def test_how_steady_a_machine_is_reaches_programs_and_prometheus(fleet: Fleet) -> None:
    fleet.agents["edge"].publish_metrics(steadiness=RESTLESS)
    await until(lambda: (said := fleet.registry.node("edge").metrics) is not None and said.steadiness == RESTLESS)
    rows = {row["name"]: row for row in await fleet.client.ask(ListNodes())}
    assert rows["device"]["steadiness"] is None
    assert rows["edge"]["steadiness"]["regime"] == "restless"
    assert rows["edge"]["steadiness"]["stolen"] == 0.051
    async with aiohttp.ClientSession() as session, session.get(f"{fleet.client.artifacts}/metrics") as answer:
        page = await answer.text()
    assert 'edgesplit_controller_node_steadiness_spread{node="edge",over="minutes"} 0.06' in page
    assert 'edgesplit_controller_node_restless{node="edge"} 1.0' in page
    assert 'edgesplit_controller_node_stolen_ratio{node="edge"} 0.051' in page
    assert 'edgesplit_controller_node_restless{node="device"}' not in page


def row(said: Steadiness | None) -> NodeRow:
    return NodeRow(
        name="edge",
        online=True,
        advertise="10.0.0.1:7400",
        cpu_percent=None,
        memory_available_bytes=None,
        compute_w=None,
        transmit_w=None,
        power_origin=None,
        steadiness=said,
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (RESTLESS, "restless ±10.0 %"),
        (Steadiness(seconds_spread=0.012, regime="steady"), "steady ±1.2 %"),
    ],
)
def test_people_see_regime_and_spread(said: Steadiness, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_nodes([row(said)])
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("said", [None, Steadiness(seconds_spread=0.5, samples=5)])
def test_what_is_not_known_yet_is_a_dash(said: Steadiness | None, capsys: pytest.CaptureFixture[str]) -> None:
    show_nodes([row(said)])
    out = capsys.readouterr().out
    assert "steady" not in out
    assert "restless" not in out


def test_what_others_take_is_a_line_where_it_is_much(capsys: pytest.CaptureFixture[str]) -> None:
    show_nodes([row(RESTLESS)])
    assert "edge: 5 % of the time of its cores went to others on its host (steal)" in capsys.readouterr().out
    show_nodes([row(Steadiness(regime="steady", stolen=0.01, throttled=0.3))])
    out = capsys.readouterr().out
    assert "steal" not in out
    assert "edge: 30 % of the time a limit of its control group held it back (throttling)" in out
