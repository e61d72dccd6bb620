"""What people see fits 80 columns, breaks no word, and leaves no blanks in pipes."""

from __future__ import annotations

import msgspec
import pytest

from edgesplit.control.event_messages import Event
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import LinkRow, ListLinks, ListNodes, NodeRow
from edgesplit.operations.model_operations import ListModels, ShowModel
from edgesplit.operations.plan_operations import FallbackRow, ShowPlan
from edgesplit.operations.study_operations import ExplainDocument, ExplainPlan, WhatIf
from edgesplit.planning.explanation import CutReason
from edgesplit_controller.cli.views.layout import ELSEWHERE, PlainTable, console
from edgesplit_controller.cli.views.tables import WIDE
from edgesplit_controller.cli.views.wrapping import hanging
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController
from tests.cli.test_asking import MODEL, NODES, PLAN
from tests.cli.test_constraints_and_studies import ALL_CLOUD, what_if_document

LONG = "greenhouse-rpi4"
ADDRESS = "192.168.178.101:7400"
NAME = "yolo11n-segmentation"


def node(name: str) -> NodeRow:
    return msgspec.structs.replace(NODES[0], name=name, advertise=ADDRESS)


def link(to: str) -> LinkRow:
    return LinkRow(
        from_=LONG, to=to, bandwidth_bytes_per_s=2.32e9, latency_s=0.0525, age_s=12.5, origin="measured", error=0.031
    )


CUT = CutReason(
    tensor="/model.22/cv3.0/cv3.0.0/act/Mul_output_0",
    from_=LONG,
    to="basement-server",
    bytes=1.2e6,
    transfer_s=0.25,
    latency_change_s=0.1,
    energy_change_j=0.2,
    score_change=0.1,
    text="/model.22/cv3.0/cv3.0.0/act/Mul_output_0 (1.2 MB) goes from greenhouse-rpi4 to basement-server in 250 ms: "
    "without it, the best plan takes 100 ms more and 200 mJ more.",
)


@pytest.fixture
def answering(controller: FakeController) -> FakeController:
    fallback = FallbackRow(
        epoch=9,
        latency_s=0.9,
        energy_j=5.0,
        noise=0.0,
        per_node=ALL_CLOUD,
        prepared=True,
        latency_interval_s=(0.851, 1.03),
        energy_interval_j=(4.77, 5.35),
    )
    plan = msgspec.structs.replace(PLAN, model=NAME, source=LONG, fallbacks={LONG: fallback})
    model = msgspec.structs.replace(MODEL, name=NAME, profiled=(LONG, "basement-server", "cloud-vm-frankfurt"))
    event = Event(
        at_unix_s=1.8e9,
        origin="controller",
        kind="link-changed",
        text=f"link {LONG} -> basement-server went from 2.32 GB/s to 1.1 GB/s, which the plan of {NAME} would notice",
        model=NAME,
    )
    explanation = ExplainDocument(model=NAME, epoch=3, cuts=(CUT,), binding=(), relaxations=(), complete=True)
    controller.answers |= {
        ListNodes: lambda _operation: [node(LONG), node("basement-server")],
        ListLinks: lambda _operation: [link("basement-server"), link("cloud-vm-ffm-01")],
        ListModels: lambda _operation: [model],
        ShowModel: lambda _operation: model,
        ShowPlan: lambda _operation: plan,
        ExplainPlan: lambda _operation: explanation,
        WhatIf: lambda _operation: what_if_document(),
        ListEvents: lambda _operation: [event],
    }
    return controller


COMMANDS = (
    ("nodes",),
    ("links",),
    ("model", "list"),
    ("model", "show", NAME),
    ("plan", NAME),
    ("explain", NAME),
    ("what-if", NAME, "--without", "edge"),
    ("events",),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 100, 120])
def test_every_page_fits_and_breaks_no_word(
    run: Run, answering: FakeController, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], columns: int
) -> None:
    whole = run(*command)
    assert whole.status == 0
    monkeypatch.setenv("COLUMNS", str(columns))
    told = run(*command).out
    lines = told.splitlines()
    # A hash or a tensor's name may be longer than a line; it is folded, and nothing else is.
    assert max(map(len, lines)) <= columns
    known = words(whole.out) | words(f"(left out for want of room; {ELSEWHERE} {WIDE})")
    assert {word for word in words(told) - known if len(word) < 30} == set()


def words(text: str) -> set[str]:
    """Words without what punctuates them."""
    return {word.strip("(),:;.") for word in text.split()} - {""}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_pipes_get_no_padding_and_a_row_a_line(run: Run, answering: FakeController, command: tuple[str, ...]) -> None:
    lines = run(*command).out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []


def test_nodes_keep_their_addresses_whole_at_80_columns(
    run: Run, answering: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = run("nodes").out
    assert told.count(ADDRESS) == 2
    assert f"{LONG}  online  {ADDRESS}" in told


def test_what_gives_way_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table = PlainTable("", droppable=("third",))
    for name in ("first", "second", "third"):
        table.add_column(name)
    table.add_row("a" * 10, "b" * 10, "c" * 10)
    console().print(table)
    told = capsys.readouterr().out
    assert "c" * 10 not in told
    assert "left out for want of room: third" in " ".join(told.split())


def test_rows_become_paragraphs_where_nothing_else_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table = PlainTable()
    table.add_column("node")
    table.add_column("address")
    table.add_row("device", "127.0.0.1:7400")
    console().print(table)
    assert capsys.readouterr().out.split() == ["node", "device", "address:", "127.0.0.1:7400"]


def test_a_sentence_goes_below_its_head_where_there_is_no_room() -> None:
    assert hanging("head", "a short one", 80) == "head a short one"
    assert hanging("head", "one that does not fit beside it", 30) == "head\n    one that does not fit\n    beside it"


def test_gap_and_score_are_told_apart(run: Run, controller: FakeController) -> None:
    proven = msgspec.structs.replace(PLAN, status="optimal", score=0.00572, gap=0.0)
    controller.answers[ShowPlan] = lambda _operation: proven
    told = run("plan", "yolo").out
    assert "0.00572 (weighted; 0 is the best latency and the best energy at once)" in told
    assert "no plan has a lower score (proven)" in told
    assert "gap" not in told
    open_ = msgspec.structs.replace(PLAN, status="feasible", score=0.00572, gap=0.001)
    controller.answers[ShowPlan] = lambda _operation: open_
    assert "the best score may be lower by 0.001 at most (gap)" in run("plan", "yolo").out


def test_a_fixed_plan_is_called_so_and_nothing_is_said_of_how_good_it_is(run: Run, controller: FakeController) -> None:
    fixed = msgspec.structs.replace(PLAN, fixed=True, score=None, gap=None, status="feasible")
    controller.answers[ShowPlan] = lambda _operation: fixed
    told = run("plan", "yolo").out
    assert ", fixed plan, serving" in told
    assert "kept as it was given, until deploy without --plan" in told
    assert "score" not in told
    assert "proof" not in told
