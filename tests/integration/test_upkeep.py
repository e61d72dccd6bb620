"""Maintenance of live agents: drained under load without a failed request, and a controller's folder lost and restored."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from tests.waiting import blocking_until

MODEL = "upkept"
NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5, slow_down=12.0),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, slow_down=2.0),
    EmulatedNode("cloud", compute_w=35.0, transmit_w=0.01),
)


@pytest.fixture(scope="module")
def served(mosquitto: str, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A model that a slow device shares with others."""
    with LocalFleet(tmp_path_factory.mktemp("upkeep"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        running.splitctl("model", "add", MODEL, str(small_model))
        running.splitctl("deploy", MODEL, "--source", "device")
        yield running


def plan(fleet: LocalFleet) -> Any:
    return fleet.splitctl("plan", MODEL)


def used(fleet: LocalFleet) -> set[str]:
    return {node for node, share in plan(fleet)["per_node"].items() if share["operators"]}


def test_nodes_are_drained_one_after_another_under_load_and_no_request_fails(served: LocalFleet, image: Path) -> None:
    blocking_until(lambda: used(served) - {"device"}, "that a faster node is used")
    drained: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(served.splitctl, "infer", MODEL, "--input", str(image), "--count", "150")
        while (others := used(served) - {"device"}) and not load.done():
            node = min(others)
            document = served.splitctl("drain", node)
            assert [row["stays"] for row in document["models"]] == [""]
            assert node not in used(served)
            drained.append(node)
        asked = load.result()
    assert drained
    assert (asked["failed"], asked["count"]) == (0, 150)
    assert len(asked["epochs"]) > 1
    with pytest.raises(CommandFailed) as caught:
        served.splitctl("drain", "device")
    assert caught.value.exit_code == 3
    for node in ("device", *drained):
        served.splitctl("undrain", node)
    blocking_until(lambda: used(served) & {*drained}, "that a node is used again")


def test_a_controller_whose_folder_was_lost_goes_on_from_its_backup(
    served: LocalFleet, image: Path, tmp_path: Path
) -> None:
    served.splitctl("pause")
    before, file = plan(served), tmp_path / "fleet.tar"
    assert served.splitctl("backup", str(file))["models"] == [MODEL]
    served.kill("controller")
    shutil.rmtree(served.folder / "store")
    served.start_controller()
    served.await_nodes()
    assert served.splitctl("model", "list") == []
    (row,) = served.splitctl("restore", str(file))["models"]
    assert (row["source"], row["epoch"], row["pending"]) == ("device", before["epoch"], "")
    after = plan(served)
    assert (after["per_node"], after["serving"]) == (before["per_node"], before["epoch"])
    assert served.splitctl("infer", MODEL, "--input", str(image), "--count", "5")["failed"] == 0
    with pytest.raises(CommandFailed, match="would overwrite the model upkept"):
        served.splitctl("restore", str(file))
