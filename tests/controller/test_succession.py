"""Controllers that follow each other at one broker: who waits, who takes over, and what is left alone where nothing is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgesplit.control.archive_messages import Archive, ArchiveEntry
from edgesplit.errors import InvalidConfiguration, NameTaken
from edgesplit.operations.plan_operations import DeployModel
from edgesplit_controller.archive.turn import Turn
from edgesplit_controller.configuration import (
    ControllerBrokerSection,
    ControllerConfiguration,
    ControllerSection,
    StoreSection,
)
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.storage.store import Store
from edgesplit_controller.succession.succession import Succession
from tests.controller.fleet import Fleet, in_a_thread
from tests.controller.tiny_models import convolutions
from tests.waiting import until


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet that serves a model; its nodes have no HTTP, so that they keep no records."""
    running = Fleet(tmp_path)
    await running.start()
    await running.client.add("tiny", convolutions(2))
    await running.client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: running.fallbacks.idle)
    yield running
    await running.client.bus.close()
    running.stranger.close()
    for agent in running.agents.values():
        await agent.bus.close()
    running.broker.stop()


def second(fleet: Fleet, store: Path, *, standby: bool) -> Succession:
    """Another controller process at the same broker."""
    configuration: ControllerConfiguration = msgspec.structs.replace(
        fleet.configuration, store=StoreSection(path=str(store)), controller=ControllerSection(standby=standby)
    )
    return Succession(configuration, in_a_thread, patience_s=0.5)


async def test_with_one_folder_the_second_waits_for_it_and_then_has_everything(served: Fleet) -> None:
    folder = served.configuration.store_path
    waiting = second(served, folder, standby=True)
    assert await waiting.start() == ""
    assert waiting.standing.startswith(f"standing by: another controller holds the store {folder}")
    epoch = served.plan("tiny").epoch.number
    await served.stop_controller()
    await until(lambda: waiting.service is not None and waiting.standing.startswith("serving"))
    assert waiting.service is not None
    active = waiting.service.decide.deployer.deployments["tiny"].active
    assert active is not None
    assert active.epoch.number == epoch
    assert "tiny" in waiting.service.known.catalog.records
    await waiting.close()


async def test_a_second_one_that_does_not_stand_by_is_refused_with_one_folder_and_with_two(
    served: Fleet, tmp_path: Path
) -> None:
    refused = second(served, served.configuration.store_path, standby=False)
    with pytest.raises(InvalidConfiguration, match="in use by another controller"):
        await refused.start()
    await refused.close()
    refused = second(served, tmp_path / "other", standby=False)
    with pytest.raises(NameTaken, match="another controller serves at this broker"):
        await refused.start()
    await refused.close()
    await served.stop_controller()


async def test_where_nothing_is_kept_the_second_leaves_what_nodes_hold_and_the_first_stands_by_when_it_returns(
    served: Fleet, tmp_path: Path
) -> None:
    waiting = second(served, tmp_path / "other", standby=True)
    assert await waiting.start() == ""
    assert "another controller serves at this broker" in waiting.standing
    await until(lambda: bool(served.told("controller-stands-by")))
    await until(lambda: served.service.known.archive.digests == frozenset())
    held = {name: agent.desired["tiny"] for name, agent in served.agents.items() if "tiny" in agent.desired}
    assert held
    await served.stop_controller()
    await until(lambda: waiting.service is not None and waiting.standing.startswith("serving"))
    assert waiting.service is not None
    await until(lambda: waiting.service is not None and waiting.service.known.rollouts.settled)
    assert {name: agent.desired["tiny"] for name, agent in served.agents.items() if "tiny" in agent.desired} == held
    # The first comes back while the second serves, and takes up no more than its turn allows.
    first = second(served, served.configuration.store_path, standby=True)
    assert await first.start() == ""
    assert first.service is None
    await waiting.close()
    await until(lambda: first.service is not None and first.standing.startswith("serving"))
    assert {name: agent.desired["tiny"] for name, agent in served.agents.items() if "tiny" in agent.desired} == held
    await first.close()


# --- whose turn --------------------------------------------------------------------------------------------------------------

KEPT = (ArchiveEntry(name="models/m", digest="0" * 64, nbytes=1),)


async def turn(
    folder: Path, *kept: Archive, knows_nothing: bool = False, takes_over: bool = True
) -> tuple[Turn, Store]:
    store = Store(folder)
    store.save_reign(store.reign.begun())
    made = Turn(
        store,
        takes_over=takes_over,
        events=EventLog(None, lambda _event: None),
        changed=lambda: None,
        knows_nothing=lambda: knows_nothing,
        kept=lambda: kept,
    )
    return made, store


async def test_who_hears_another_decide_while_it_speaks_has_had_its_turn(tmp_path: Path) -> None:
    own, store = await turn(tmp_path)
    own.hear(Archive(store=store.reign.store, number=store.reign.number, edition=1), speaking=True)
    assert not own.is_over
    own.hear(Archive(store="another", number=1, edition=1), speaking=False)
    assert not own.is_over, "before it has the name it only remembers that"
    assert not own.may_speak()
    assert own.is_over
    assert "another controller decided" in await own.over()
    store.close()


async def test_records_at_nodes_end_the_turn_of_a_controller_that_knows_nothing_and_of_no_other(tmp_path: Path) -> None:
    kept = Archive(store="another", number=9, edition=1, entries=KEPT)
    nothing_in_it = msgspec.structs.replace(kept, entries=())
    for lists, knows_nothing, takes_over, speaks in (
        ((kept,), True, True, False),
        ((kept,), True, False, True),
        ((kept,), False, True, True),
        ((nothing_in_it,), True, True, True),
        ((), True, True, True),
    ):
        own, store = await turn(tmp_path, *lists, knows_nothing=knows_nothing, takes_over=takes_over)
        if knows_nothing:
            # An old list on the broker alone, whose nodes are gone, keeps nobody from beginning.
            own.hear(kept, speaking=False)
        assert own.may_speak() == speaks
        assert own.is_over == (not speaks)
        store.close()


async def test_what_was_remembered_beside_a_list_that_nobody_keeps_outlives_a_restart(tmp_path: Path) -> None:
    kept = Archive(store="another", number=9, edition=1, entries=KEPT)
    models: list[str] = []
    store = Store(tmp_path)
    for starts_with in (0, 1):
        assert len(models) == starts_with
        own = Turn(
            store,
            takes_over=True,
            events=EventLog(None, lambda _event: None),
            changed=lambda: None,
            knows_nothing=lambda: not models,
            kept=lambda: (),
        )
        own.hear(kept, speaking=False)
        assert own.may_speak()
        own.remembered()
        assert store.reign.is_behind(kept) == (not models), (
            "as long as there is nothing here, nodes may still come with it"
        )
        models[:] = ["m"]
        own.remembered()
        assert own.may_speak(), "after a connection was lost and made again"
    own.hear(msgspec.structs.replace(kept, number=10), speaking=True)
    assert own.is_over, "somebody decides with the other store after all"
    store.close()


def test_a_controller_that_brings_the_broker_cannot_stand_by() -> None:
    configuration = ControllerConfiguration(
        broker=ControllerBrokerSection(embedded=True), controller=ControllerSection(standby=True)
    )
    with pytest.raises(InvalidConfiguration, match="needs a broker that outlives the first controller"):
        configuration.validate()
