"""Control-plane payloads keep their shape on the wire."""

from __future__ import annotations

import msgspec
import pytest

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.plan_messages import DESIRED
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.errors import EdgesplitError, InvalidInput, Overloaded, error_from_code
from edgesplit.names import checked_name
from edgesplit.operations.fleet_operations import LinkRow
from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.operation import Operation, OperationRequest


def test_an_absent_limit_differs_from_a_cleared_one() -> None:
    absent = msgspec.json.decode(b'{"op": "set-weights", "energy": 1.0}', type=SetWeights)
    cleared = msgspec.json.decode(b'{"op": "set-weights", "max_noise": {"value": null}}', type=SetWeights)
    assert absent.max_noise is None
    assert cleared.max_noise == LimitChange(None)


def test_a_request_survives_its_encoding() -> None:
    operation = SetWeights(energy=1.0, max_noise=LimitChange(0.5))
    request = OperationRequest.of(operation, identifier="1", protocol=1)
    payload = msgspec.json.encode(request)
    assert msgspec.json.decode(payload)["operation"]["op"] == "set-weights"
    heard = msgspec.json.decode(payload, type=OperationRequest)
    assert msgspec.json.decode(heard.operation, type=Operation) == operation


def test_a_newer_peer_may_say_more() -> None:
    payload = b'{"node":"a","online":true,"protocol":1,"version":"9","instance":"i","advertise":"h:1","mood":"good"}'
    assert msgspec.json.decode(payload, type=NodeStatus).node == "a"


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="latency_s"):
        msgspec.json.decode(
            b'{"to":"b","up":true,"bandwidth_bytes_per_s":1.0,"measured_at_unix_s":0.0}', type=LinkState
        )


def test_link_rows_use_the_published_key_from() -> None:
    row = LinkRow(from_="a", to="b", bandwidth_bytes_per_s=1.0, latency_s=0.1, age_s=0.0, origin="measured")
    assert msgspec.json.decode(msgspec.json.encode(row))["from"] == "a"


def test_errors_survive_the_wire_and_unknown_ones_become_the_root() -> None:
    assert isinstance(error_from_code("overloaded", "full"), Overloaded)
    assert type(error_from_code("from-the-future", "?")) is EdgesplitError


@pytest.mark.parametrize("name", ["", "a/b", "a b", "..", "ü", "x" * 101, "+", "#"])
def test_names_that_would_break_topics_or_files_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_name("model", name)


def test_topics_start_with_the_protocol_version() -> None:
    assert DESIRED.of("edge", "yolo") == "edgesplit/1/nodes/edge/desired/yolo"
    assert DESIRED.names("edgesplit/1/nodes/edge/desired/yolo") == ("edge", "yolo")
