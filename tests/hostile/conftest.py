"""One served fleet for all attacks; after each, what stood before stands, and every request was answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.served_fleet import ServedFleet, served_fleet
from tests.waiting import blocking_until


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedFleet]:
    """Started once."""
    with served_fleet(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(fleet: ServedFleet) -> Iterator[None]:
    """No attack changes plans, epochs, models or grants, or has a request fail."""
    before = fleet.ledger.plans()
    assert fleet.asker is not None
    with fleet.asker.asking():
        yield
        blocking_until(lambda: fleet.ledger.plans() == before, "what stood before stands")
        fleet.asker.goes_on()
