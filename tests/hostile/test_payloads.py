"""What a stolen node and a stolen operator's key may write at the real broker, and write wrongly: refused, counted, told once, without effect."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.mqtt.topic import Topic
from edgesplit.mqtt.topic_filters import matches
from edgesplit.operations.model_operations import RemoveModel
from edgesplit.operations.operation import OPERATION_REQUEST, OperationRequest
from edgesplit.release import PROTOCOL
from edgesplit.topic_table import TABLE, signed_rows
from edgesplit.trust.signing import in_envelope
from tests.hostile.attackers import Intruder
from tests.hostile.served_fleet import MODEL, ServedFleet
from tests.trust.signers import forgeries
from tests.waiting import blocking_until

STOLEN = "edge"
"""A node with a part in the plan; whoever has its key speaks as it, beside its own agent."""
HIGHEST = (1 << 63) - 1
WRITES = [row for row in TABLE if "agent" in row.writers and "controller" in row.readers]


def changed(value: Any, change: Callable[[str, Any], Any]) -> Any:
    """A message with other values under some of its keys."""
    if isinstance(value, dict):
        return {key: change(key, changed(part, change)) for key, part in value.items()}
    return [changed(part, change) for part in value] if isinstance(value, list) else value


def far_future(key: str, value: Any) -> Any:
    """An epoch that nobody handed out."""
    return HIGHEST if key in {"epoch", "serving"} and isinstance(value, int) else value


def beyond_measure(_key: str, value: Any) -> Any:
    """A figure that no machine has."""
    return 1e300 if isinstance(value, float) else value


def lie(key: str, value: Any) -> Any:
    """Another's name."""
    return "device" if key in {"node", "origin"} and value == STOLEN else value


def wrong(row: Topic[Any], true: dict[str, Any] | None) -> dict[str, bytes]:
    """Payloads that are none, or cannot be true, by what is wrong with them."""
    made = {
        "no JSON": b"\xff\x00{",
        "nested": b"[" * 50_000,
        "another type": b'"text"',
        "oversized": b'"' + b"x" * row.limit_bytes + b'"',
    }
    if true is not None:
        told = {"future epoch": far_future, "beyond measure": beyond_measure, "another's name": lie}
        for name, change in told.items():
            if (message := changed(true, change)) != true:
                made[name] = json.dumps(message).encode()
    return made


def last_said(fleet: ServedFleet, topic: str) -> dict[str, Any] | None:
    """What the node itself said there last."""
    for heard, payload in reversed(fleet.ledger.heard):
        if heard == topic and payload[:1] == b"{":
            found = json.loads(payload)
            return found if isinstance(found, dict) else None
    return None


@pytest.mark.parametrize("row", WRITES, ids=lambda row: row.pattern)
def test_a_stolen_node_that_writes_nonsense_changes_nothing(fleet: ServedFleet, row: Topic[Any]) -> None:
    topic = row.of(*(STOLEN, MODEL)[: len(row.placeholders)])
    payloads = wrong(row, last_said(fleet, topic))
    before = fleet.ignored()
    stolen = Intruder(fleet.secured.broker, fleet.files(STOLEN))
    stolen.say(topic, payloads.values())
    blocking_until(
        lambda: fleet.ignored() >= before + len(payloads), f"all of {list(payloads)} are counted", within_s=5
    )
    told = [event for kind in ("malformed-message", "message-ignored") for event in fleet.ledger.told(kind)]
    assert not [event for event, count in Counter(told).items() if count > 1]
    stolen.close()


def test_what_was_wrong_is_told(fleet: ServedFleet) -> None:
    told = [text for origin, text in fleet.ledger.told("message-ignored") if origin == "controller"]
    assert any(f"epoch {HIGHEST} of {MODEL}, and the last one handed out is" in text for text in told), told
    assert {origin for origin, _ in fleet.ledger.told("malformed-message")} == {"controller", "device", "edge"}


def test_requests_that_no_operator_signed_are_refused_with_a_reason(fleet: ServedFleet) -> None:
    topic = OPERATION_REQUEST.of("splitctl-eve")
    asked = OperationRequest.of(RemoveModel(name=MODEL), identifier="x", protocol=PROTOCOL)
    made = forgeries(fleet.made, "operator", topic, msgspec.json.encode(asked), OPERATION_REQUEST.limit_bytes)
    security = MessageSecurity(fleet.made.credentials("operator"), signed_rows(), clock=lambda: time.time() - 3600.0)
    late = OperationRequest.of(RemoveModel(name=MODEL), identifier="slow", protocol=PROTOCOL)
    made["an hour old"] = security.sealed(topic, msgspec.json.encode(late))
    before_asking = len(fleet.ledger.heard)
    fleet.secured.run("nodes")
    made["another's, sent again"] = next(
        payload for heard, payload in fleet.ledger.heard[before_asking:] if matches(OPERATION_REQUEST.filter(), heard)
    )
    attacker = Intruder(fleet.secured.broker, fleet.operator)
    pattern = OPERATION_REQUEST.pattern
    before = fleet.counted("controller").get(pattern, 0)
    attacker.say(topic, made.values())
    blocking_until(lambda: fleet.counted("controller").get(pattern, 0) == before + len(made), "all are counted")
    told = fleet.ledger.told("message-refused")
    assert told
    assert not [event for event, count in Counter(told).items() if count > 1]
    replies = {
        reply["id"]: reply
        for heard, payload in fleet.ledger.heard
        if heard.endswith("replies/splitctl-eve") and (message := in_envelope(payload)) is not None
        for reply in [json.loads(message)]
    }
    assert "by the clock of operator anna, and the clock here says" in replies["slow"]["text"]
    assert replies["x"]["kind"] == "failure"
    attacker.close()
