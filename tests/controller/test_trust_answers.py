"""Answers about trust: what is said without an authority, and what a revocation and a removal take with them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edgesplit.control.registration_messages import NODE_STATUS
from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.operations.fleet_operations import RemoveNode
from edgesplit.operations.trust_operations import (
    AddClientToken,
    CertificateRow,
    ClientTokenRow,
    GiveJoinToken,
    JoinOffer,
    ListCertificates,
    ListClientTokens,
    RemoveClientToken,
    RevokeCertificates,
    RevokedDocument,
    TrustOperation,
)
from edgesplit.trust.subjects import Subject
from edgesplit_controller.answering.trust_answers import TrustAnswers
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.trust.fleet_trust import FleetTrust
from edgesplit_controller.trust.identities import make_identity
from tests.controller.fleet import Fleet
from tests.trust.secured_broker import found

DIGEST = "ab" * 32
CAMERA = Subject("node", "camera")


class Broker:
    """Keeps what was wiped."""

    def __init__(self) -> None:
        self.wiped: list[str] = []

    def wipe(self, topic: str) -> None:
        self.wiped.append(topic)


class Desk:
    """A controller's answers, with nobody at the broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.founded = found(folder)
        self.events = EventLog(None, lambda _event: None)
        self.changes: list[int] = []
        self.trust = FleetTrust(
            folder / "trust",
            send=lambda _topic, _payload: False,
            broker_url=lambda: "mqtts://10.9.0.9:8883",
            events=self.events,
        )
        self.trust.on_change.append(lambda: self.changes.append(1))
        self.broker = Broker()
        self.answers = TrustAnswers(self.trust, lambda: "https://10.9.0.9:7480", self.broker)

    async def ask(self, operation: TrustOperation) -> Any:
        """The document."""
        return await self.answers.answer(operation)

    def node(self) -> None:
        """A node that joined."""
        make_identity(self.founded.authority, self.trust.record, CAMERA, self.folder / "camera", now_s=time.time())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_without_an_authority_each_operation_says_how_to_make_one(fleet: Fleet) -> None:
    for operation in (ListCertificates(), ListClientTokens(), GiveJoinToken(kind="node", name="x", digest=DIGEST)):
        with pytest.raises(InvalidConfiguration, match="splitctl ca init"):
            await fleet.client.ask(operation)
    with pytest.raises(Exception, match="no node"):
        await fleet.client.ask(RemoveNode(name="nobody"))


async def test_a_token_is_given_under_the_controllers_address(desk: Desk) -> None:
    offer = await desk.ask(GiveJoinToken(kind="node", name="camera", digest=DIGEST))
    assert offer == JoinOffer(
        kind="node", name="camera", url="https://10.9.0.9:7480", expires_unix_s=offer.expires_unix_s
    )
    assert offer.expires_unix_s == pytest.approx(time.time() + 3600, abs=60)


async def test_a_revocation_is_told_to_nodes_and_removes_the_registration(desk: Desk) -> None:
    desk.node()
    desk.changes.clear()
    revoked = await desk.ask(RevokeCertificates(role="node", name="camera"))
    assert isinstance(revoked, RevokedDocument)
    (told,) = desk.trust.record.revocations(time.time()).certificates
    assert (told.serial, told.subject) == (*revoked.serials, "node:camera")
    assert desk.changes == [1]
    assert desk.broker.wiped == [NODE_STATUS.of("camera")]
    kinds = [event.kind for event in desk.events.last(10)]
    assert "certificate-revoked" in kinds
    assert "broker-rights-unset" in kinds  # nobody was there to take them away


async def test_who_holds_no_certificate_cannot_be_revoked(desk: Desk) -> None:
    desk.node()
    with pytest.raises(InvalidInput, match="those that do are camera"):
        await desk.ask(RevokeCertificates(role="node", name="edge"))
    with pytest.raises(InvalidInput, match="cannot name"):
        await desk.ask(RevokeCertificates(role="node", name="../edge"))


async def test_certificates_are_listed_the_next_to_end_first(desk: Desk) -> None:
    desk.node()
    rows: list[CertificateRow] = await desk.ask(ListCertificates())
    assert [row.role for row in rows] == ["controller", "operator", "node", "broker"]
    assert all(row.revoked_unix_s is None for row in rows)


async def test_tokens_of_clients_are_kept_by_digest_until_they_end_or_are_removed(desk: Desk) -> None:
    add = AddClientToken(name="till", digest=DIGEST, models=("yolo",), expires_in_s=60.0, rate_hz=5.0)
    row: ClientTokenRow = await desk.ask(add)
    assert (row.name, row.models, row.rate_hz) == ("till", ("yolo",), 5.0)
    (told,) = desk.trust.record.client_tokens(time.time()).tokens
    assert told.digest == DIGEST
    assert desk.trust.record.client_tokens(time.time() + 61).tokens == ()
    with pytest.raises(InvalidInput, match="token remove till"):
        await desk.ask(add)
    await desk.ask(RemoveClientToken(name="till"))
    assert await desk.ask(ListClientTokens()) == []
    with pytest.raises(InvalidInput, match="no token"):
        await desk.ask(RemoveClientToken(name="till"))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"digest": "ab"},
        {"digest": "AB" * 32},
        {"models": ("a b",)},
        {"expires_in_s": 0.0},
        {"expires_in_s": float("nan")},
        {"expires_in_s": 1e12},
        {"rate_hz": 0.0},
        {"rate_hz": float("inf")},
    ],
)
async def test_a_token_that_cannot_be_is_refused_and_changes_nothing(desk: Desk, changes: dict[str, Any]) -> None:
    asked = {"name": "till", "digest": DIGEST, "expires_in_s": 60.0, **changes}
    with pytest.raises(InvalidInput):
        await desk.ask(AddClientToken(**asked))
    assert await desk.ask(ListClientTokens()) == []


async def test_tokens_are_bounded_in_number(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_controller.trust.fleet_trust.MOST_CLIENT_TOKENS", 2)
    for name in ("a", "b"):
        await desk.ask(AddClientToken(name=name, digest=DIGEST, expires_in_s=60.0))
    with pytest.raises(InvalidInput, match="there are 2 tokens"):
        await desk.ask(AddClientToken(name="c", digest=DIGEST, expires_in_s=60.0))
