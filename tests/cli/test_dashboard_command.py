"""`splitctl dashboard` and `splitctl model graph`, against a stand-in for the controller."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Iterator

import pytest

from edgesplit.errors import InvalidConfiguration
from edgesplit.operations.inspection.dashboard_operation import DashboardDocument, OpenDashboard
from edgesplit.operations.inspection.graph_operation import (
    GraphDocument,
    GraphEdge,
    GraphEnd,
    GraphUnit,
    ShowGraph,
)
from edgesplit_controller.cli.commands.inspection.dashboard import tunnel
from edgesplit_controller.cli.entry import main
from tests.cli.fakes import FakeController

HERE = DashboardDocument(
    url="http://127.0.0.1:7481", ticket="abc", expires_unix_s=60.0, local=True, machine=socket.gethostname()
)
ELSEWHERE = DashboardDocument(url="http://127.0.0.1:7481", ticket="", expires_unix_s=None, local=True, machine="cellar")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    pages: list[str] = []

    def open_page(page: str) -> bool:
        pages.append(page)
        return True

    monkeypatch.setattr(webbrowser, "open", open_page)
    yield pages


def test_it_opens_the_page_with_its_ticket_and_prints_it(
    controller: FakeController, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    controller.answers[OpenDashboard] = lambda _: HERE
    assert main(["--broker", controller.broker, "dashboard"]) == 0
    said = capsys.readouterr()
    assert said.out == "http://127.0.0.1:7481/#ticket=abc\n"
    assert "within a minute" in said.err
    assert opened == ["http://127.0.0.1:7481/#ticket=abc"]
    assert main(["--broker", controller.broker, "dashboard", "--no-open"]) == 0
    assert len(opened) == 1


def test_of_another_machine_s_loopback_it_says_how_to_get_there_and_opens_nothing(
    controller: FakeController, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    controller.answers[OpenDashboard] = lambda _: ELSEWHERE
    assert main(["--broker", controller.broker, "dashboard"]) == 0
    assert "ssh -N -L 7481:127.0.0.1:7481 cellar" in capsys.readouterr().err
    assert opened == []
    assert "ssh -N -L 7481:127.0.0.1:7481 192.0.2.7 " in tunnel(ELSEWHERE, "192.0.2.7")


def test_a_controller_without_one_is_one_sentence(
    controller: FakeController, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    def refuse(_: OpenDashboard) -> DashboardDocument:
        raise InvalidConfiguration("this controller has no dashboard: set [dashboard] listen")

    controller.answers[OpenDashboard] = refuse
    assert main(["--broker", controller.broker, "dashboard"]) == 1
    assert "set [dashboard] listen" in capsys.readouterr().err


def test_a_network_is_a_unit_a_line_and_its_names_are_no_markup(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    document = GraphDocument(
        model="m",
        sha256="0" * 64,
        units=(
            GraphUnit(
                id=0,
                name="[red]conv",
                operators=("[red]conv", "r"),
                kinds=("Conv", "Relu"),
                flops=1000,
                weight_bytes=2000,
            ),
            GraphUnit(id=1, name="fc", operators=("fc",), kinds=("Gemm",), flops=None, weight_bytes=0),
        ),
        edges=(GraphEdge(from_=0, to=1, tensor="t", nbytes=4000),),
        inputs=(GraphEnd(tensor="x", nbytes=10, units=(0,)),),
        outputs=(GraphEnd(tensor="y", nbytes=20, units=(1,)),),
    )
    controller.answers[ShowGraph] = lambda _: document
    assert main(["--broker", controller.broker, "model", "graph", "m"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("[red]conv", "Conv Relu", "4 kB", "Gemm", "2 units"))
