"""Pins, forbidden nodes, explain, what-if and frontier: what is typed, asked, shown and written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from edgesplit.errors import PlanInfeasible
from edgesplit.operations.goal_operations import (
    AllowNode,
    ForbiddenRow,
    ForbidNode,
    LimitChange,
    PinOperators,
    PinRow,
    PinsDocument,
    SetWeights,
    UnpinOperators,
    WeightsRow,
)
from edgesplit.operations.plan_operations import FallbackRow, ShowPlan
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.operations.study_operations import (
    ExplainDocument,
    ExplainPlan,
    FrontierDocument,
    FrontierRow,
    LinkChange,
    PlacedNetwork,
    TraceFrontier,
    WhatIf,
    WhatIfDocument,
)
from edgesplit.planning.explanation import BindingConstraint, CutReason, LimitRelaxation
from edgesplit.planning.goals import PinRule
from edgesplit.planning.plan import Concession, NodeShare
from edgesplit_controller.cli.quantities import link, rate_bytes_per_s, span_s
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController
from tests.cli.test_asking import PLAN

ROW = PinRow(select="conv*", nodes=("edge",), operators=("conv1",), units=("conv1",), also=("relu1",))
PINS = PinsDocument(model="yolo", epoch=4, changed=True, pins=(ROW,))
ALL_CLOUD = {
    "device": NodeShare(operators=0, components=0, quantized=0),
    "cloud": NodeShare(operators=5, components=1, quantized=2),
}
SUMMARY = PlanSummary(
    status="optimal",
    latency_s=0.65,
    energy_j=3.83,
    latency_interval_s=(0.628, 0.681),
    energy_interval_j=(3.71, 3.97),
    device_energy_j=1.1,
    noise=0.04,
    per_node=ALL_CLOUD,
    quantized=("conv1",),
)


def raising(error: Exception) -> Any:
    def answer(_operation: object) -> object:
        raise error

    return answer


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("conv*", "--node", "edge"), PinRule(kind="pattern", pattern="conv*", nodes=("edge",))),
        (("conv*", "--node", "edge", "cloud"), PinRule(kind="pattern", pattern="conv*", nodes=("edge", "cloud"))),
        (("a", "--node", "edge,cloud"), PinRule(kind="pattern", pattern="a", nodes=("edge", "cloud"))),
        (("a", "--node", "b", "--node", "c"), PinRule(kind="pattern", pattern="a", nodes=("b", "c"))),
        (("--node", "b", "a"), PinRule(kind="pattern", pattern="a", nodes=("b",))),
        (("--node=b", "a", "c"), PinRule(kind="pattern", pattern="a", nodes=("b", "c"))),
        (("--first", "3"), PinRule(kind="first", first=3)),
        (("--first", "3", "--node", "a", "b"), PinRule(kind="first", first=3, nodes=("a", "b"))),
        (("--input",), PinRule(kind="input")),
    ],
)
def test_pin_asks_for_what_was_typed(
    run: Run, controller: FakeController, arguments: tuple[str, ...], rule: PinRule
) -> None:
    controller.answers[PinOperators] = lambda _operation: PINS
    told = run("pin", "yolo", *arguments, "--json")
    assert told.document["pins"][0]["also"] == ["relu1"]
    assert controller.operations == [PinOperators(name="yolo", rule=rule)]


@pytest.mark.parametrize(
    ("arguments", "nodes"),
    [
        (("conv1", "conv2", "conv3", "--node", "edge"), ("edge",)),
        (("conv1", "conv2", "conv3", "--node", "edge", "cloud"), ("edge", "cloud")),
        (("conv1", "conv2", "conv3", "--node=edge", "--node=cloud"), ("edge", "cloud")),
    ],
)
def test_a_pattern_that_the_shell_expanded_makes_a_pin_of_each_name(
    run: Run, controller: FakeController, arguments: tuple[str, ...], nodes: tuple[str, ...]
) -> None:
    controller.answers[PinOperators] = lambda _operation: PINS
    run("pin", "yolo", *arguments)
    first, *others = (PinRule(kind="pattern", pattern=f"conv{number}", nodes=nodes) for number in (1, 2, 3))
    assert controller.operations == [PinOperators(name="yolo", rule=first, also=tuple(others))]


def test_several_pins_are_lifted_together(run: Run, controller: FakeController) -> None:
    controller.answers[UnpinOperators] = lambda _operation: msgspec.structs.replace(PINS, pins=())
    run("unpin", "yolo", "conv1", "conv2")
    assert controller.operations == [UnpinOperators(name="yolo", select="conv1", also=("conv2",))]


def test_pin_names_the_units_it_reaches(run: Run, controller: FakeController) -> None:
    controller.answers[PinOperators] = lambda _operation: PINS
    people = run("pin", "yolo", "conv*", "--node", "edge").out
    for text in ("runs a new assignment as epoch 4", "1 operators in 1 units are pinned to edge", "relu1"):
        assert text in people
    controller.answers[PinOperators] = lambda _operation: msgspec.structs.replace(PINS, epoch=0, changed=False)
    assert "not deployed" in run("pin", "yolo", "conv*").out


@pytest.mark.parametrize(
    ("argument", "select"), [("conv*", "conv*"), ("--first", "--first"), ("--input", "--input"), ("--all", None)]
)
def test_unpin_asks_for_what_was_typed(run: Run, controller: FakeController, argument: str, select: str | None) -> None:
    controller.answers[UnpinOperators] = lambda _operation: msgspec.structs.replace(PINS, pins=())
    assert run("unpin", "yolo", argument, "--json").document["pins"] == []
    assert controller.operations == [UnpinOperators(name="yolo", select=select)]
    assert "nothing is pinned" in run("unpin", "yolo", argument).out


def test_forbid_and_allow(run: Run, controller: FakeController) -> None:
    row = ForbiddenRow(model="yolo", epoch=5, changed=True, forbidden=("edge",))
    controller.answers |= {ForbidNode: lambda _operation: [row], AllowNode: lambda _operation: []}
    assert run("forbid", "edge", "--model", "yolo", "--json").document[0]["forbidden"] == ["edge"]
    assert "yolo may not use: edge" in run("forbid", "edge").out
    assert "allowed" in run("allow", "edge").out
    assert controller.operations == [
        ForbidNode(node="edge", model="yolo"),
        ForbidNode(node="edge"),
        AllowNode(node="edge"),
    ]
    controller.answers[ForbidNode] = raising(PlanInfeasible("no plan without edge"))
    assert run("forbid", "edge").status == 3


def test_plan_lists_pins_forbidden_nodes_and_fallbacks(run: Run, controller: FakeController) -> None:
    row = FallbackRow(epoch=9, latency_s=0.9, energy_j=5.0, noise=0.0, per_node=ALL_CLOUD, prepared=True)
    document = msgspec.structs.replace(PLAN, pins=(ROW,), forbidden=("moon",), fallbacks={"edge": row})
    controller.answers[ShowPlan] = lambda _operation: document
    programs = run("plan", "yolo", "--json").document
    assert (programs["pins"][0]["select"], programs["forbidden"]) == ("conv*", ["moon"])
    assert programs["fallbacks"]["edge"]["epoch"] == 9
    people = run("plan", "yolo").out
    for text in ("pinned conv*", "2 operators to edge", "moon", "if lost", "cloud 5", "900 ms", "prepared"):
        assert text in people


def test_explain_shows_cuts_bindings_and_what_relaxing_brings(run: Run, controller: FakeController) -> None:
    controller.answers[ExplainPlan] = lambda _operation: ExplainDocument(
        model="yolo",
        epoch=3,
        concession=Concession(
            tolerance=0.02,
            share=0.01,
            components=1,
            components_of_best=9,
            cut_bytes=0.0,
            cut_bytes_of_best=5e6,
            latency_of_best_s=0.1,
            energy_of_best_j=1.0,
            text="1 component in place of 9",
        ),
        cuts=(
            CutReason(
                tensor="t1",
                from_="device",
                to="cloud",
                bytes=2e6,
                transfer_s=0.4,
                latency_change_s=0.012,
                energy_change_j=None,
                score_change=None,
                text="without it: +12 ms",
            ),
        ),
        binding=(
            BindingConstraint(
                constraint="noise", subject="", limit=0.1, value=0.1, slack=0.0, text="noise is at its limit"
            ),
        ),
        relaxations=(
            LimitRelaxation(
                constraint="noise",
                subject="",
                change="max_noise 0.1 -> 0.15",
                latency_s=0.5,
                energy_j=3.0,
                score_gain=0.1,
                proven=True,
                text="saves 150 ms",
            ),
        ),
        complete=False,
    )
    programs = run("explain", "yolo", "--json", "--time-limit", "3").document
    assert programs["cuts"][0]["from"] == "device"
    assert controller.operations == [ExplainPlan(name="yolo", time_limit_s=3.0)]
    people = run("explain", "yolo").out
    for text in (
        "simpler than the best: 1 component in place of 9",
        "without it: +12 ms",
        "2 MB",
        "400 ms",
        "noise is at its limit",
        "max_noise 0.1 -> 0.15",
        "--time-lim",
    ):
        assert text in people


def what_if_document() -> WhatIfDocument:
    return WhatIfDocument(
        model="yolo",
        epoch=3,
        supposed=("node edge is gone",),
        active=SUMMARY,
        active_then=None,
        then=msgspec.structs.replace(SUMMARY, latency_s=1.25, energy_j=9.0),
        same=False,
        moved=7,
        solve_s=0.1,
        placed=PlacedNetwork(source="device", components=(), quantized=(), codecs={}, timeline=()),
    )


def test_what_if_shows_both_plans_beside_each_other(run: Run, controller: FakeController) -> None:
    document = what_if_document()
    controller.answers[WhatIf] = lambda _operation: document
    typed = (
        "--link",
        "device:edge=16Mbit/s,20ms",
        "--without",
        "edge",
        "--max-noise",
        "0.3",
        "--device-energy",
        "none",
    )
    assert run("what-if", "yolo", *typed, "--json").document["moved"] == 7
    assert controller.operations == [
        WhatIf(
            name="yolo",
            links=(LinkChange(from_="device", to="edge", bandwidth_bytes_per_s=2e6, latency_s=0.02),),
            without=("edge",),
            max_noise=LimitChange(0.3),
            device_energy_j=LimitChange(None),
        )
    ]
    people = run("what-if", "yolo", "--without", "edge").out
    for text in (
        "node edge is gone",
        "7 operators",
        "650 ms (628 to 681)",
        "1.25 s",
        "9 J",
        "could not run then",
        "5 (2 in int8)",
    ):
        assert text in people
    broken = msgspec.structs.replace(SUMMARY, broken=("noise is 0.2",))
    controller.answers[WhatIf] = lambda _operation: msgspec.structs.replace(document, active_then=broken, same=True)
    people = run("what-if", "yolo", "--without", "edge").out
    assert "the active plan would stay" in people
    assert "would break a constraint: noise is 0.2" in people


def point(latency_s: float, energy_j: float, *, active: bool = False, status: str = "optimal") -> FrontierRow:
    return FrontierRow(
        latency_s=latency_s,
        timeline_s=latency_s,
        timeline_interval_s=(latency_s * 0.9, latency_s * 1.1),
        energy_j=energy_j,
        device_energy_j=1.0,
        noise=0.0,
        status=status,
        per_node=ALL_CLOUD,
        quantized=(),
        active=active,
    )


def traced(*points: FrontierRow, active: FrontierRow) -> FrontierDocument:
    return FrontierDocument(model="yolo", epoch=3, latency_model="sum", points=points, active=active, seconds=1.0)


def test_frontier_is_shown_written_and_drawn(run: Run, controller: FakeController, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    document = traced(point(0.5, 9.0), point(0.7, 4.0, status="feasible"), active=point(0.8, 6.0, active=True))
    controller.answers[TraceFrontier] = lambda _operation: document
    picture, output = tmp_path / "frontier.png", tmp_path / "frontier.json"
    told = run("frontier", "yolo", "--points", "5", "--png", picture, "--output", output)
    assert controller.operations == [TraceFrontier(name="yolo", points=5)]
    for text in ("500 ms (450 to 550)", "4 J", "feasible", "→", "800 ms", "cloud 5"):
        assert text in told.out
    assert msgspec.json.decode(output.read_bytes(), type=FrontierDocument) == document
    with image.open(io.BytesIO(picture.read_bytes())) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (960, 600))
    assert run("frontier", "yolo", "--json").document["active"]["active"] is True


def test_a_frontier_of_rates_is_asked_for_shown_and_drawn(run: Run, controller: FakeController, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    rows = [msgspec.structs.replace(point(0.5 * n, 9.0), rate_hz=2.0 * n, bottleneck="edge") for n in (1, 2)]
    document = msgspec.structs.replace(traced(*rows, active=rows[0]), axes="latency,rate")
    controller.answers[TraceFrontier] = lambda _operation: document
    told = run("frontier", "yolo", "--axes", "latency,rate", "--png", tmp_path / "frontier.png")
    assert controller.operations == [TraceFrontier(name="yolo", axes="latency,rate")]
    assert "traded: latency for rate" in told.out
    assert "4 requests/s" in told.out
    assert (tmp_path / "frontier.png").stat().st_size > 0


def test_a_dry_run_shows_what_would_serve_and_that_nothing_is_stored(run: Run, controller: FakeController) -> None:
    then = msgspec.structs.replace(SUMMARY, rate_hz=12.0, bottleneck="device:edge")
    row = WeightsRow(model="yolo", epoch=3, changed=True, then=then)
    controller.answers[SetWeights] = lambda _operation: [row]
    told = run("set-weights", "--min-rate", "10", "--dry-run")
    for text in ("run a new assignment", "12 requests/s", "device:edge", "nothing was stored"):
        assert text in " ".join(told.out.split())
    document = run("set-weights", "--min-rate", "10", "--dry-run", "--json").document
    assert document[0]["then"]["bottleneck"] == "device:edge"
    assert run("set-weights", "--min-rate", "0").status == 2


@pytest.mark.parametrize(
    "document",
    [
        traced(point(0.5, 9.0, active=True), active=point(0.5, 9.0, active=True)),
        traced(point(0.0, 0.0), active=point(0.0, 0.0, active=True)),
        traced(*(point(1e-6 * step, 1e-9 / step) for step in range(1, 30)), active=point(1e4, 1e5, active=True)),
    ],
    ids=["one point", "nothing costs anything", "scales far apart"],
)
def test_any_frontier_can_be_drawn(document: FrontierDocument) -> None:
    pytest.importorskip("PIL")
    from edgesplit_controller.cli.views.frontier_picture import draw_frontier

    assert draw_frontier(document).startswith(b"\x89PNG")


def test_axis_labels_tell_values_apart() -> None:
    pytest.importorskip("PIL")
    from edgesplit_controller.cli.views.frontier_picture import labels, ticks

    assert ticks(0.17, 0.62) == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert labels([6.65, 6.7, 6.75], ((1.0, "J"), (1e-3, "mJ"))) == ["6.65 J", "6.70 J", "6.75 J"]
    assert labels([0.2, 0.3], ((1.0, "s"), (1e-3, "ms"))) == ["200 ms", "300 ms"]


def test_without_pillow_the_picture_is_refused_before_the_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edgesplit_controller.cli.commands.frontier.find_spec", lambda _name: None)
    told = run("frontier", "yolo", "--png", tmp_path / "frontier.png")
    assert (told.status, told.out) == (1, "")
    assert "edgesplit[demo]" in told.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("2MB/s", 2e6), ("16 Mbit/s", 2e6), ("1.5kB/s", 1500.0), ("800B/s", 800.0), ("1GB/s", 1e9), ("1e3 B/s", 1e3)),
        *(("2", None), ("MB/s", None), ("2 MB", None), ("1.2.3 B/s", None), ("-2MB/s", None)),
    ],
)
def test_rates_need_their_unit(text: str, value: float | None) -> None:
    assert rate_bytes_per_s(text) == (None if value is None else pytest.approx(value))


def test_times_and_links_are_read() -> None:
    assert [span_s(text) for text in ("20ms", "0.5 s", "20", "20 h")] == [0.02, 0.5, None, None]
    assert link("a:b=2MB/s, 20ms") == ("a", "b", 2e6, 0.02)
    assert link("a:b=20ms") == ("a", "b", None, 0.02)
    with pytest.raises(click.BadParameter, match="FROM:TO"):
        link("a=2MB/s")
