"""A disk that is really full: what serves goes on, what is refused is said, and making room is all that it takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgesplit.errors import EdgesplitError
from edgesplit.operations.goal_operations import PinOperators
from edgesplit.operations.plan_operations import DeployModel
from edgesplit.planning.goals import PinRule
from edgesplit_controller.storage.deployment_state import State
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
SIZE = "4m"
PIN = PinRule(kind="pattern", pattern="relu1", nodes=("edge",))


def fill(path: Path) -> None:
    """Leave no byte free."""
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Whose controller has a file system of its own for its store."""
    (tmp_path / "store").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(tmp_path / "store")], check=True)
    try:
        running = Fleet(tmp_path)
        await running.start()
        await running.client.add("tiny", convolutions(2))
        await running.client.ask(DeployModel(name="tiny", source="device"))
        await until(lambda: running.fallbacks.idle)
        yield running
        await running.stop()
    finally:
        subprocess.run(["umount", str(tmp_path / "store")], check=True)


async def test_a_full_disk_is_said_refuses_changes_and_heals_when_room_is_made(fleet: Fleet) -> None:
    folder = fleet.configuration.store_path
    epoch = fleet.plan("tiny").epoch.number
    stored = (folder / "state.json").read_bytes()
    fill(folder / "filler")
    with pytest.raises(EdgesplitError, match=r"nothing was changed: .*No space left") as caught:
        await fleet.client.ask(PinOperators(name="tiny", rule=PIN))
    assert caught.value.code == "store-unwritable"
    await until(lambda: bool(fleet.told("store-unwritable")))
    assert (folder / "state.json").read_bytes() == stored, "a full disk damages nothing that was written"
    assert fleet.plan("tiny").epoch.number == epoch
    # A restart finds the disk as full, and serves the old plan from what is there.
    await fleet.stop_controller()
    await fleet.start_controller()
    await until(lambda: bool(fleet.deployer.deployments) and len(fleet.registry.online()) == 3)
    assert fleet.plan("tiny").epoch.number == epoch
    assert fleet.store.log.damages == []
    (folder / "filler").unlink()
    await until(lambda: not fleet.store.health.cause)
    await fleet.until_settled()
    await fleet.client.ask(PinOperators(name="tiny", rule=PIN))
    state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    assert PIN in state.goals["tiny"].pins
