"""The controller's signature: only under a controller's certificate, with counters above all it ever used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edgesplit.control.plan_messages import DESIRED
from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import InvalidConfiguration
from edgesplit_controller.configuration import ControllerConfiguration, StoreSection
from edgesplit_controller.storage.store import Store
from edgesplit_controller.trust_assembly import make_security
from tests.trust.signers import MadeFleet

TOPIC = DESIRED.of("device", "m")


@pytest.fixture
def fleet() -> Iterator[MadeFleet]:
    made = MadeFleet()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


def configuration(folder: Path, store: Store) -> ControllerConfiguration:
    security = SecuritySection(mode="fleet", folder=str(folder))
    return ControllerConfiguration(store=StoreSection(path=str(store.path)), security=security)


def test_a_fleet_without_an_authority_signs_nothing(store: Store) -> None:
    assert make_security(ControllerConfiguration(store=StoreSection(path=str(store.path))), store) is None


def test_another_roles_certificate_is_refused_by_name(fleet: MadeFleet, store: Store) -> None:
    folder = fleet.files("operator").key.parent
    with pytest.raises(InvalidConfiguration, match="is that of operator anna, not a controller's"):
        make_security(configuration(folder, store), store)


def test_a_clock_that_went_back_over_a_restart_does_not_make_agents_deaf(fleet: MadeFleet, store: Store) -> None:
    chosen, agent = configuration(fleet.files("controller").key.parent, store), fleet.security("node")
    now_s = time.time()
    for offset_s in (0.0, -86_400.0 / 2, 1.0):
        controller = make_security(chosen, store)
        assert controller is not None
        controller._clock = partial(float, now_s + offset_s)
        payload = controller.sealed(TOPIC, b"%d" % offset_s)
        said = agent.opened(TOPIC, payload)
        assert said is not None
        assert said.message == b"%d" % offset_s
    assert agent.refused == {}


def test_a_bound_that_cannot_be_read_is_set_aside_and_the_clock_alone_counts(fleet: MadeFleet, store: Store) -> None:
    (store.path / "signatures.json").write_text("{")
    controller = make_security(configuration(fleet.files("controller").key.parent, store), store)
    (damage,) = store.log.damages
    assert "signatures go by the clock alone" in damage.sentence
    assert controller is not None
    said = fleet.security("node").opened(TOPIC, controller.sealed(TOPIC, b"1"))
    assert said is not None
    assert said.message == b"1"
