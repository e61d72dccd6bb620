"""A fleet secured by splitctl's own commands: Mosquitto and controller as processes, nodes and operators that join, and are revoked."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from demo.ports import free_port
from edgesplit.control.registration_messages import NODE_PEERS, NODE_STATUS, NodeStatus
from edgesplit.errors import NotTrusted
from edgesplit.mqtt.topic import ROOT
from edgesplit.release import PROTOCOL
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.enrolment_client import ControllerPlace, renewed
from tests.controller.tiny_models import convolutions
from tests.integration.inputs import random_request
from tests.trust.running_fleet import Secured, running, secured
from tests.trust.secured_broker import Holder, broker_address
from tests.waiting import blocking_until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One for all tests; each has names of its own in it."""
    with secured(tmp_path_factory.mktemp("fleet")) as made:
        yield made


@pytest.fixture
def fleet(served: Secured) -> Secured:
    """The first operator is asking."""
    served.user = "config"
    return served


def test_machines_join_with_one_line_and_are_on_the_broker(fleet: Secured) -> None:
    lines = fleet.run("node", "add", "camera", "edge")
    assert [line["command"].split()[:3] for line in lines] == 2 * [["edgesplit-agent", "join", fleet.artifacts]]
    files = [fleet.join(line["command"]) for line in lines]
    assert [Credentials.load(found).subject.name for found in files] == ["camera", "edge"]
    camera = Holder(broker_address(fleet.broker, files[0]))
    camera.subscribe(f"{ROOT}/nodes/camera/desired/+", f"{ROOT}/nodes/edge/desired/+")
    assert camera.denied == [f"{ROOT}/nodes/edge/desired/+"]
    camera.close()
    rows = fleet.run("certs")
    assert {(row["role"], row["name"]) for row in rows} >= {
        ("controller", "shop"),
        ("broker", "shop"),
        ("operator", "ann"),
        ("node", "camera"),
        ("node", "edge"),
    }


def test_whoever_is_revoked_is_off_within_five_seconds_and_stays_off(fleet: Secured) -> None:
    (line,) = fleet.run("node", "add", "stolen")
    files = fleet.join(line["command"])
    stolen = Holder(broker_address(fleet.broker, files))
    began_s = time.monotonic()
    revoked = fleet.run("node", "revoke", "stolen")
    assert len(revoked["serials"]) == 1
    assert stolen.gone.wait(5 - (time.monotonic() - began_s))
    with pytest.raises(NotTrusted, match="revoked"):
        renewed(ControllerPlace.parse(fleet.artifacts), files)
    again = Holder(broker_address(fleet.broker, files))
    again.subscribe(f"{ROOT}/nodes/stolen/desired/+")
    assert again.denied == [f"{ROOT}/nodes/stolen/desired/+"]
    again.close()
    assert "--again" in fleet.run("node", "add", "stolen", status=1)["error"]["message"]
    fleet.join(fleet.run("node", "add", "stolen", "--again")[0]["command"], "stolen-again")
    old = Holder(broker_address(fleet.broker, files))  # whoever stole the first key tries it beside the new one
    old.subscribe(f"{ROOT}/nodes/stolen/desired/+")
    assert old.denied == [f"{ROOT}/nodes/stolen/desired/+"]
    old.close()


def test_a_node_renews_its_certificate_and_a_line_works_once(fleet: Secured) -> None:
    (line,) = fleet.run("node", "add", "till")
    files = fleet.join(line["command"])
    answer = renewed(ControllerPlace.parse(fleet.artifacts), files)
    assert answer.certificate.encode() != files.certificate.read_bytes()
    with pytest.raises(NotTrusted, match="was used"):
        fleet.join(line["command"])
    assert fleet.run("node", "add", "till", status=1)["error"]["code"] == "name-taken"


def test_an_operator_logs_in_asks_and_is_revoked(fleet: Secured) -> None:
    (line,) = fleet.run("operator", "add", "bob")
    fleet.user = "bob"
    logged_in = fleet.run(*line["command"].split()[1:])
    assert (logged_in["name"], logged_in["context"], logged_in["broker"]) == ("bob", "shop", fleet.broker)
    assert fleet.run("nodes") == []
    assert fleet.run("token", "list", "--broker", "mqtt://127.0.0.1:1", status=4)
    assert [row["current"] for row in fleet.run("context", "list")] == [True]
    fleet.user = "config"
    fleet.run("operator", "revoke", "bob")
    fleet.user = "bob"
    assert fleet.run("nodes", status=4)["error"]["message"]


def test_an_operator_who_gives_themself_up_hears_that_it_was_done(fleet: Secured) -> None:
    (line,) = fleet.run("operator", "add", "carl")
    fleet.user = "carl"
    fleet.run(*line["command"].split()[1:])
    assert fleet.run("operator", "revoke", "carl")["name"] == "carl"
    blocking_until(lambda: "error" in fleet.run("nodes", status=None), "the broker lets carl in no more")
    fleet.user = "config"


def test_tokens_of_clients_come_and_go(fleet: Secured) -> None:
    given = fleet.run("token", "add", "till", "--model", "yolo", "--expires", "2h", "--rate", "5")
    assert given["token"].startswith("est_") and len(given["token"]) == 47
    assert abs(given["expires_unix_s"] - time.time() - 7200) < 60
    (row,) = fleet.run("token", "list")
    assert (row["name"], row["models"], row["rate_hz"]) == ("till", ["yolo"], 5.0)
    log = (fleet.folder / "trust" / "record.json").read_text() + (fleet.folder / "controller.log").read_text()
    assert given["token"] not in log
    assert fleet.run("token", "remove", "till")["name"] == "till"
    assert fleet.run("token", "list") == []


def test_nobody_asks_without_an_identity(fleet: Secured) -> None:
    refused = fleet.run(
        "--broker", fleet.broker, "--ca-file", str(fleet.folder / "trust" / "authority.pem"), "nodes", status=4
    )
    assert "certificate" in refused["error"]["message"]


def test_a_node_that_is_removed_is_trusted_no_more_and_its_name_is_free(fleet: Secured) -> None:
    files = fleet.join(fleet.run("node", "add", "gone")[0]["command"])
    gone = Holder(broker_address(fleet.broker, files))
    status = NodeStatus(
        node="gone", online=False, protocol=PROTOCOL, version="0", instance="one", advertise="10.9.0.7:1"
    )
    gone.client.publish(NODE_STATUS.of("gone"), msgspec.json.encode(status), qos=1, retain=True).wait_for_publish(10)
    blocking_until(lambda: [row["name"] for row in fleet.run("nodes")] == ["gone"], "the controller knows the node")
    kept = fleet.run("node", "remove", "gone")["topics"]
    assert NODE_STATUS.of("gone") in kept
    assert set(kept) <= {NODE_STATUS.of("gone"), NODE_PEERS.of("gone")}
    assert gone.gone.wait(5)
    assert fleet.run("nodes") == []
    fleet.join(fleet.run("node", "add", "gone")[0]["command"])


def test_agents_that_joined_serve_a_model_over_tls_and_one_that_is_revoked_does_not(
    fleet: Secured, tmp_path: Path
) -> None:
    model = tmp_path / "chain.onnx"
    model.write_bytes(convolutions())
    with contextlib.ExitStack() as stack:
        for line in fleet.run("node", "add", "door", "shelf"):
            folder, port = tmp_path / line["name"], free_port()
            agent = [sys.executable, "-m", "edgesplit_agent.main"]
            config = ("--config", str(folder / "agent.toml"))
            subprocess.run([*agent, *line["command"].split()[1:], *config], check=True, capture_output=True)
            settings = {
                "EDGESPLIT_DATA_LISTEN": f"127.0.0.1:{port}",
                "EDGESPLIT_DATA_ADVERTISE": f"127.0.0.1:{port}",
                "EDGESPLIT_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
                "EDGESPLIT_CACHE_PATH": str(folder / "cache"),
            }
            log = folder / "agent.log"
            stack.enter_context(running([*agent, *config], log, b"broker-connected", {**os.environ, **settings}))
        blocking_until(lambda: sum(row["online"] for row in fleet.run("nodes")) == 2, "both are online")
        assert fleet.run("model", "add", "chain", str(model))["name"] == "chain"
        assert fleet.run("deploy", "chain", "--source", "door")["model"] == "chain"
        answered = fleet.run("infer", "chain", "--input", str(random_request(model, tmp_path)), "--count", "5")
        assert (answered["count"], answered["failed"]) == (5, 0)
        revoked = fleet.run("node", "revoke", "shelf")
        assert len(revoked["serials"]) == 1
        blocking_until(lambda: [row["name"] for row in fleet.run("nodes") if row["online"]] == ["door"], "one is left")
        answered = fleet.run("infer", "chain", "--input", str(tmp_path / "in.npz"), "--count", "5")
        assert (answered["count"], answered["failed"]) == (5, 0)
