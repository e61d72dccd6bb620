"""A broker in foreign hands: an agent that is pointed to it obeys nothing that the controller did not sign for it, here and now."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from demo.ports import free_port
from edgesplit.control.archive_messages import ARCHIVE, Archive
from edgesplit.control.event_messages import EVENT
from edgesplit.control.inquiry_messages import INQUIRY, Inquiry
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, Deployment, Desired
from edgesplit.control.profile_messages import MODEL_OFFER, PROFILE_REQUEST, ProfileRequest
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_PEERS, ControllerStatus
from edgesplit.control.trust_messages import (
    CLIENT_TOKENS,
    REVOCATIONS,
    ClientToken,
    ClientTokens,
    Revocations,
    RevokedCertificate,
)
from edgesplit.mqtt.topic import Topic
from edgesplit.topic_table import TABLE
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.signing import in_envelope
from tests.brokers import Stranger, running_mosquitto
from tests.hostile.served_fleet import MODEL, ServedFleet, start_agent
from tests.trust.signers import forgeries
from tests.waiting import blocking_until

NODE = "astray"
DECISIONS = [
    row
    for row in TABLE
    # Peers are heard once a controller that is believed says that it names them, and there is none behind this broker.
    if row.signer == "controller" and "agent" in row.readers and row is not NODE_PEERS
]


@pytest.fixture(scope="module")
def foreign(fleet: ServedFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """Who owns the broker that the agent is pointed to."""
    fleet.http[NODE] = f"127.0.0.1:{free_port()}"
    lines = f'[data]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "0.0.0.0:{fleet.http[NODE].rpartition(":")[2]}"\n'
    with running_mosquitto(tmp_path_factory.mktemp("foreign")) as url, start_agent(fleet.secured, NODE, lines, url):
        stranger = Stranger(url)
        stranger.listen()
        yield stranger
        stranger.close()


def harm(row: Topic[Any], fleet: ServedFleet) -> tuple[str, bytes]:
    """A topic that the agent reads, and a message that would do harm there."""
    own = Credentials.load(TrustFiles.of(fleet.secured.folder / "nodes" / "device")).facts.serial
    everybody = ClientToken(name="eve", digest="0" * 64, expires_s=4e9)
    offer = in_envelope(fleet.ledger.stands[MODEL_OFFER.of(MODEL)])
    assert offer is not None
    messages: dict[Topic[Any], tuple[tuple[str, ...], object]] = {
        DESIRED: ((NODE, MODEL), Desired(node=NODE, model=MODEL, inputs=(), outputs=(), epochs=())),
        DEPLOYMENT: ((MODEL,), Deployment(model=MODEL, source=NODE, advertise="127.0.0.1:1", inputs=(), outputs=())),
        CONTROLLER_STATUS: (
            (),
            ControllerStatus(online=True, protocol=99, version="9", instance="x", artifacts="http://127.0.0.1:1"),
        ),
        REVOCATIONS: (
            (),
            Revocations(certificates=(RevokedCertificate(serial=own, subject="node:device", expires_s=4e9),)),
        ),
        CLIENT_TOKENS: ((), ClientTokens(tokens=(everybody,))),
        MODEL_OFFER: ((MODEL,), {**json.loads(offer), "sha256": "0" * 64}),
        PROFILE_REQUEST: ((NODE,), ProfileRequest(model=MODEL, sha256="0" * 64, asked="x")),
        INQUIRY: ((NODE,), Inquiry(id="x", about="checkup")),
        ARCHIVE: ((), Archive(store="x", number=99, edition=1, keepers=(NODE,))),
    }
    names, message = messages[row]
    return row.of(*names), msgspec.json.encode(message)


@pytest.mark.parametrize("row", DECISIONS, ids=lambda row: row.pattern)
def test_forged_and_replayed_decisions_are_refused_counted_and_told_once(
    fleet: ServedFleet, foreign: Stranger, row: Topic[Any]
) -> None:
    topic, message = harm(row, fleet)
    made = forgeries(fleet.made, "controller", topic, message, row.limit_bytes)
    others = [payload for heard, payload in fleet.ledger.heard if heard != topic and in_envelope(payload) is not None]
    made["the controller's, of another topic"] = others[-1]
    for payload in made.values():
        foreign.write(topic, payload)
    blocking_until(lambda: fleet.counted(NODE).get(row.pattern, 0) >= len(made), f"all of {list(made)} are counted")
    events = [json.loads(payload) for heard, payload in foreign.said if heard == EVENT.of(NODE)]
    told = [event["text"] for event in events if event["kind"] == "message-refused"]
    assert told
    assert not [text for text, count in Counter(told).items() if count > 1]
    assert fleet.counted(NODE)[row.pattern] == len(made)
    assert not [heard for heard, _ in foreign.said if f"nodes/{NODE}/observed" in heard]


def test_what_the_controller_signed_once_is_not_believed_again_once_a_newer_was(
    fleet: ServedFleet, foreign: Stranger
) -> None:
    topic = CLIENT_TOKENS.of()
    fleet.secured.run("token", "add", "passing", "--expires", "1h")
    fleet.secured.run("token", "remove", "passing")
    blocking_until(lambda: b"passing" not in fleet.ledger.stands[topic], "the list without it is heard")
    versions = list(dict.fromkeys(payload for heard, payload in fleet.ledger.heard if heard == topic))
    newest = fleet.ledger.stands[topic]
    foreign.write(topic, newest)
    before = fleet.counted(NODE).get(CLIENT_TOKENS.pattern, 0)
    old = [payload for payload in versions if payload != newest]
    assert old
    for payload in (*old, newest):
        foreign.write(topic, payload)
    blocking_until(
        lambda: fleet.counted(NODE).get(CLIENT_TOKENS.pattern, 0) == before + len(old), "old ones are refused"
    )
