from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from demo.ports import free_port
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.cli.entry import main
from tests.cli.fakes import FakeController


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be exactly one JSON document."""
        return msgspec.json.decode(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    pytest.importorskip("amqtt")
    url = f"mqtt://127.0.0.1:{free_port()}"
    with EmbeddedBroker(url):
        yield url


@pytest.fixture
def controller(broker: str) -> Iterator[FakeController]:
    with FakeController(broker) as fake:
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Run:
    """Run splitctl in this process, against the test's broker where it has one."""
    monkeypatch.delenv("EDGESPLIT_DEBUG", raising=False)
    if "broker" in request.fixturenames:
        monkeypatch.setenv("EDGESPLIT_BROKER", request.getfixturevalue("broker"))
    else:
        monkeypatch.delenv("EDGESPLIT_BROKER", raising=False)

    def run_splitctl(*arguments: object) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run_splitctl
