"""The data plane is tried in the clear and in a secured fleet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataplane.fakes import SECURED
from tests.dataplane.fleets import MadeFleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> MadeFleet:
    """One fleet for all tests: certificates take time."""
    return MadeFleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(params=["plain", "secured"])
def both_ways(request: pytest.FixtureRequest, fleet: MadeFleet) -> Iterator[None]:
    """Run a test twice: without security, and with all planes and raw peers in a fleet."""
    SECURED.fleet = fleet if request.param == "secured" else None
    yield
    SECURED.fleet = None


@pytest.fixture
def other_fleet(tmp_path: Path) -> MadeFleet:
    """Another fleet, of another authority."""
    return MadeFleet(tmp_path)
