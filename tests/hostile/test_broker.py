"""Attackers at the real broker: without the right certificate nobody says a word there, and with one nobody speaks for another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS
from edgesplit.mqtt.topic import Program
from edgesplit.mqtt.topic_filters import matches
from edgesplit.topic_table import TABLE, access_rules
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.signing import in_envelope
from edgesplit.trust.subjects import Role
from tests.hostile.attackers import Intruder, shaken
from tests.hostile.served_fleet import DAY, ServedFleet
from tests.trust.signers import MadeFleet

OTHERS = ("device", "tiny")
"""Names in topics that an attacker tries: not its own."""


def identity(fleet: ServedFleet, kind: str) -> TrustFiles | None:
    """Of somebody who is not to be let in."""
    made = fleet.made
    if kind == "another fleet's":
        other = MadeFleet()
        fleet.strangers.append(other)
        return other.files("node", "edge")
    if kind == "expired":
        return made.files("node", "edge", begins=-2 * DAY, ends=-timedelta(hours=1))
    if kind == "not valid yet":
        return made.files("node", "edge", begins=timedelta(hours=1))
    return None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no certificate", "CERTIFICATE_REQUIRED"),
        ("another fleet's", "UNKNOWN_CA|DECRYPT_ERROR"),
        ("expired", "CERTIFICATE_EXPIRED"),
        ("not valid yet", "BAD_CERTIFICATE|CERTIFICATE_EXPIRED"),
    ],
)
def test_whoever_has_no_good_certificate_is_told_so_by_tls(fleet: ServedFleet, kind: str, reason: str) -> None:
    files = identity(fleet, kind)
    said = shaken(fleet.secured.broker.removeprefix("mqtts://"), fleet.context(files))
    assert any(word in said for word in reason.split("|")), said


@pytest.mark.parametrize(
    ("kind", "says"),
    [("another fleet's", "authority"), ("expired", "clock"), ("not valid yet", "clock")],
)
def test_splitctl_says_what_is_wrong_with_its_certificate(fleet: ServedFleet, kind: str, says: str) -> None:
    files = identity(fleet, kind)
    assert files is not None
    options = ("--cert-file", str(files.certificate), "--key-file", str(files.key), "--ca-file", str(fleet.authority))
    document = fleet.secured.run("--broker", fleet.secured.broker, *options, "nodes", status=4)
    assert says in document["error"]["message"]


@pytest.mark.parametrize(
    ("role", "name", "program"),
    [
        ("node", "spare", "agent"),
        ("operator", "ann", "splitctl"),
        ("client", "till", None),
        ("broker", "shop", None),
        ("node", "never-joined", None),
    ],
)
def test_nobody_writes_or_reads_what_is_anothers(
    fleet: ServedFleet, role: Role, name: str, program: Program | None
) -> None:
    """Every topic of the table, under another's name; the answer is MQTT 5's `not authorized`, and nobody hears it."""
    rules = [] if program is None else access_rules(program, name)

    def may(right: str, topic: str) -> bool:
        return any(matches(rule, topic) for allowed, rule in rules if right in allowed)

    topics = {row.of(*OTHERS[: len(row.placeholders)]) for row in TABLE}
    marker = json.dumps({"says": f"{role}:{name}"}).encode()
    attacker = Intruder(fleet.secured.broker, fleet.made.files(role, name))
    assert attacker.write(topics, marker) == {topic: may("write", topic) for topic in topics}
    assert attacker.read(topics) == {topic: may("read", topic) for topic in topics}
    attacker.close()
    assert all(may("write", topic) for topic, payload in fleet.ledger.heard if payload == marker)


def instance_of(fleet: ServedFleet, topic: str) -> str:
    """What a program says of itself, for everybody to read."""
    payload = fleet.ledger.stands[topic]
    return str(json.loads(in_envelope(payload) or payload)["instance"])


def test_nobody_ends_anothers_session_by_its_identifier(fleet: ServedFleet) -> None:
    """MQTT gives a session to whoever connects last under its identifier, whoever that is: so identifiers are nobody's to know."""
    agent, controller = (instance_of(fleet, topic) for topic in (NODE_STATUS.of("device"), CONTROLLER_STATUS.of()))
    attackers = [
        Intruder(fleet.secured.broker, fleet.files("spare"), client_id)
        for client_id in (f"edgesplit-agent-device-{agent}", f"edgesplit-controller-{controller}")
    ]
    assert fleet.asker is not None
    fleet.asker.goes_on()
    for attacker in attackers:
        attacker.close()
    assert not any("broker-lost" in fleet.log(program) for program in ("device", "edge", "controller"))


@pytest.mark.parametrize("program", ["agent", "controller"])
def test_the_second_program_of_a_name_is_refused_and_the_first_goes_on(
    fleet: ServedFleet, tmp_path: Path, program: str
) -> None:
    if program == "agent":
        folder, name = fleet.files("device").key.parent, 'name = "device"\n'
        lines = f'[data]\nlisten = "127.0.0.1:0"\n[http]\nlisten = ""\n[cache]\npath = "{tmp_path / "cache"}"\n'
    else:
        folder, name = fleet.secured.folder / "trust", ""
        lines = (
            f'[artifacts]\nlisten = "127.0.0.1:0"\n[dashboard]\nlisten = ""\n[store]\npath = "{tmp_path / "store"}"\n'
        )
    shutil.copytree(folder, tmp_path / "trust")
    config = tmp_path / "second.toml"
    security = f'[security]\nmode = "fleet"\nfolder = "{tmp_path / "trust"}"\n'
    config.write_text(f'{name}[broker]\nurl = "{fleet.secured.broker}"\n{lines}{security}')
    heard = len(fleet.ledger.heard)
    command = [sys.executable, "-m", f"edgesplit_{program}.main", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert {
        "agent": "another agent is registered as 'device'",
        "controller": "another controller serves at this broker",
    }[program] in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(fleet.ledger.told("name-taken", heard)) == 1
    assert not any("broker-lost" in fleet.log(first) for first in ("device", "controller"))
