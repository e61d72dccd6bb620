"""Joining and renewing at the fleet's own authority: who gets a certificate, and who gets a sentence."""

from __future__ import annotations

import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from edgesplit.errors import EdgesplitError, InvalidConfiguration, InvalidInput, NameTaken, NotTrusted, StoreUnwritable
from edgesplit.trust.credentials import Credentials, certificate_request, facts_of, new_key, verify
from edgesplit.trust.enrolment import JoiningKind, JoinRequest, JoinToken, token_digest
from edgesplit.trust.subjects import CONTROLLER_HOST, PeerCertificate, Subject
from edgesplit_controller.trust.authority import AUTHORITY_KEY, Authority
from edgesplit_controller.trust.enrolments import JOIN_TOKEN_S, Enrolments
from edgesplit_controller.trust.identities import make_identity
from edgesplit_controller.trust.trust_record import RECORD, TrustRecord
from tests.trust.secured_broker import found

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0


class Desk:
    """An authority in a folder, at a time that tests set."""

    def __init__(self, folder: Path) -> None:
        self.now_s = NOW_S
        self.folder = folder
        self.authority = Authority.create(folder, "shop", now_s=NOW_S)
        self.record = TrustRecord(folder)
        self.enrolments = Enrolments(self.authority, self.record, lambda: self.now_s)

    def token(self, name: str = "camera", kind: JoiningKind = "node", **given: bool) -> str:
        """A join token that was given."""
        token = str(JoinToken.new(self.authority.digest))
        self.enrolments.give(kind, name, token_digest(token), **given)
        return token

    def ask(self, token: str, name: str = "camera", kind: JoiningKind = "node", **changes: Any) -> JoinRequest:
        """What a program that joins says."""
        subject = changes.pop("subject", Subject(kind, name))
        request = changes.pop("request", "") or certificate_request(new_key(), subject).decode()
        return JoinRequest(token=token, kind=kind, name=name, request=request, **changes)

    def certificate(self, token: str, **asked: Any) -> x509.Certificate:
        """Of a program that joined."""
        return x509.load_pem_x509_certificate(self.enrolments.join(self.ask(token, **asked)).issued.certificate)

    @property
    def root(self) -> x509.Certificate:
        """The authority's certificate."""
        return x509.load_pem_x509_certificate(self.authority.pem)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "trust")


def test_the_key_of_the_authority_is_its_owner_s_alone(desk: Desk) -> None:
    assert stat.S_IMODE((desk.folder / AUTHORITY_KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700


def test_an_authority_is_made_once(desk: Desk) -> None:
    with pytest.raises(InvalidConfiguration, match="worthless"):
        Authority.create(desk.folder, "shop", now_s=NOW_S)


def test_a_certificate_speaks_for_the_token_s_name_for_thirty_days(desk: Desk) -> None:
    certificate = desk.certificate(desk.token(), addresses=("10.9.0.3",))
    facts = verify(certificate, [desk.root], now_s=NOW_S)
    assert facts.subject == Subject("node", "camera")
    assert facts.expires_s == pytest.approx(NOW_S + 30 * DAY_S, abs=1)
    assert certificate.not_valid_before_utc.timestamp() == pytest.approx(NOW_S - 300, abs=1)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["edgesplit://node/camera"]
    assert names.get_values_for_type(x509.DNSName) == ["camera"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.9.0.3"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_addresses_that_every_machine_has_are_left_out(desk: Desk) -> None:
    certificate = desk.certificate(desk.token(), addresses=("127.0.0.1", "::1", "0.0.0.0", "10.9.0.3"))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.9.0.3"]


def test_a_token_is_used_once(desk: Desk) -> None:
    token = desk.token()
    desk.certificate(token)
    with pytest.raises(NotTrusted, match="was used"):
        desk.certificate(token)


def test_a_token_expires_in_an_hour(desk: Desk) -> None:
    token = desk.token()
    desk.now_s += JOIN_TOKEN_S + 1
    with pytest.raises(NotTrusted, match=r"expired .* clocks"):
        desk.certificate(token)


def test_a_newer_token_of_a_name_ends_the_older_one(desk: Desk) -> None:
    old, new = desk.token(), desk.token()
    with pytest.raises(NotTrusted, match="replaced by a newer one"):
        desk.certificate(old)
    desk.certificate(new)


def test_another_fleet_s_token_is_told_apart(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    with pytest.raises(NotTrusted, match="another fleet"):
        desk.certificate(other.token())


@pytest.mark.parametrize("token", ["", "esj_", "nonsense", "esj_" + "A" * 64])
def test_a_wrong_token_gets_nothing(desk: Desk, token: str) -> None:
    desk.token()
    with pytest.raises(NotTrusted):
        desk.certificate(token)
    assert desk.record.state.certificates == ()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"name": "edge"}, "is for node camera"),
        ({"kind": "operator"}, "is for node camera"),
        ({"subject": Subject("node", "edge")}, "not of node camera"),
        ({"subject": Subject("controller", "shop")}, "not of node camera"),
        (
            {"request": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"},
            "is none in PEM",
        ),
        ({"addresses": ("controller.edgesplit.internal",)}, "give an IP address"),
        ({"addresses": tuple(f"10.0.0.{n}" for n in range(17))}, "at most 16"),
    ],
)
def test_who_asks_for_more_than_the_token_says_gets_nothing_and_the_token_stays(
    desk: Desk, asked: dict[str, Any], says: str
) -> None:
    token = desk.token()
    with pytest.raises(EdgesplitError, match=says):
        desk.certificate(token, **asked)
    assert desk.record.state.certificates == ()
    desk.certificate(token)


def test_who_joins_need_not_know_its_name(desk: Desk) -> None:
    certificate = desk.certificate(desk.token(), name="", subject=Subject("node", "some-host"))
    assert verify(certificate, [desk.root], now_s=NOW_S).subject == Subject("node", "camera")


def test_who_does_not_know_its_name_cannot_ask_for_another_role(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="not of node camera"):
        desk.certificate(desk.token(), name="", subject=Subject("controller", "shop"))


def test_a_request_that_another_key_signed_is_refused(desk: Desk) -> None:
    request = certificate_request(new_key(), Subject("node", "camera"))
    der = bytearray(x509.load_pem_x509_csr(request).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(InvalidInput, match=r"not signed with the key|is none"):
        desk.certificate(desk.token(), request=forged)


def test_a_key_of_another_kind_is_refused(desk: Desk) -> None:
    key = rsa.generate_private_key(65537, 2048)
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node:camera")])
    request = x509.CertificateSigningRequestBuilder().subject_name(named).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(InvalidInput, match="P-256"):
        desk.certificate(desk.token(), request=pem)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc",
        "a/b",
        "a#",
        "+",
        "controller.edgesplit.internal",
        "LOCALHOST",
        "x.localhost",
        "n" * 60,
        "a\0b",
        "..",
        "é",
    ],
)
def test_names_that_mean_something_else_join_nothing(desk: Desk, name: str) -> None:
    with pytest.raises(InvalidInput):
        desk.token(name)
    assert desk.record.state.joins == ()


def test_no_node_gets_a_host_s_name_of_the_controller(desk: Desk) -> None:
    certificate = desk.certificate(desk.token("camera.shop"), name="camera.shop")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert CONTROLLER_HOST not in names.get_values_for_type(x509.DNSName)


def test_a_name_that_somebody_holds_is_taken_until_it_is_rotated(desk: Desk) -> None:
    first = desk.certificate(desk.token())
    with pytest.raises(NameTaken, match="rotate"):
        desk.token()
    desk.certificate(desk.token(replaces=True))
    assert desk.record.is_revoked(f"{first.serial_number:x}")
    assert len(desk.record.trusted(Subject("node", "camera"), NOW_S)) == 1


def test_a_revoked_name_is_given_again_only_to_who_insists(desk: Desk) -> None:
    desk.certificate(desk.token())
    assert len(desk.record.revoke(Subject("node", "camera"), now_s=NOW_S)) == 1
    with pytest.raises(NotTrusted, match="--again"):
        desk.token()
    desk.certificate(desk.token(despite_revocation=True))


def test_each_joining_of_a_name_is_another_user_of_the_broker_while_an_earlier_certificate_would_hold(
    desk: Desk,
) -> None:
    def user(certificate: x509.Certificate) -> object:
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return name.value

    assert user(desk.certificate(desk.token())) == "node:camera"
    rotated = desk.certificate(desk.token(replaces=True))
    assert user(rotated) == "node:camera@2"
    assert facts_of(rotated).subject == Subject("node", "camera")
    assert desk.record.users(NOW_S) == {"node:camera@2": Subject("node", "camera")}
    request = certificate_request(new_key(), Subject("node", "camera")).decode()
    renewed = desk.enrolments.renew(facts_of(rotated), request).issued
    assert user(x509.load_pem_x509_certificate(renewed.certificate)) == "node:camera@2"
    desk.record.revoke(Subject("node", "camera"), now_s=NOW_S, replaced=True)
    assert user(desk.certificate(desk.token())) == "node:camera@3"
    desk.record.revoke(Subject("node", "camera"), now_s=NOW_S, replaced=True)
    desk.now_s += 40 * DAY_S
    assert user(desk.certificate(desk.token())) == "node:camera"


def test_a_revocation_ends_the_name_s_waiting_token_too(desk: Desk) -> None:
    token = desk.token()
    desk.record.revoke(Subject("node", "camera"), now_s=NOW_S)
    with pytest.raises(NotTrusted, match="unknown"):
        desk.certificate(token)


def test_join_tokens_are_bounded_in_number(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_controller.trust.enrolments.MOST_JOIN_TOKENS", 3)
    for number in range(3):
        desk.token(f"n{number}")
    with pytest.raises(InvalidInput, match="wait for their use"):
        desk.token("n3")
    desk.now_s += JOIN_TOKEN_S + 1
    desk.token("n3")


def _holder(certificate: x509.Certificate) -> PeerCertificate:
    return PeerCertificate(
        Subject("node", "camera"), f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp()
    )


def test_renewal_gives_the_same_subject_and_addresses_a_later_end(desk: Desk) -> None:
    first = desk.certificate(desk.token(), addresses=("10.9.0.3",))
    desk.now_s += 20 * DAY_S
    request = certificate_request(new_key(), Subject("node", "camera")).decode()
    renewed = desk.enrolments.renew(_holder(first), request).issued
    assert renewed.facts.expires_s == pytest.approx(NOW_S + 50 * DAY_S, abs=1)
    names = x509.load_pem_x509_certificate(renewed.certificate).extensions
    held = names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in held] == ["10.9.0.3"]


def test_a_revoked_certificate_renews_nothing(desk: Desk) -> None:
    first = desk.certificate(desk.token())
    desk.record.revoke(Subject("node", "camera"), now_s=NOW_S)
    with pytest.raises(NotTrusted, match="revoked"):
        desk.enrolments.renew(_holder(first), certificate_request(new_key(), Subject("node", "camera")).decode())


def test_nobody_renews_into_another_name(desk: Desk) -> None:
    first = desk.certificate(desk.token())
    with pytest.raises(InvalidInput, match="not of node camera"):
        desk.enrolments.renew(_holder(first), certificate_request(new_key(), Subject("node", "edge")).decode())


def test_what_cannot_be_written_was_not_issued(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "trust")

    @contextmanager
    def full() -> Generator[None]:
        raise StoreUnwritable("nothing was changed")
        yield

    token = desk.token()
    record = TrustRecord(desk.folder, full)
    with pytest.raises(StoreUnwritable):
        Enrolments(desk.authority, record, lambda: NOW_S).join(desk.ask(token))
    assert (record.state.certificates, len(record.state.joins)) == ((), 1)
    desk.certificate(token)


def test_a_restart_finds_what_was_written(desk: Desk) -> None:
    first = desk.certificate(desk.token())
    desk.record.revoke(Subject("node", "camera"), now_s=NOW_S)
    desk.token("edge")
    again = TrustRecord(desk.folder)
    assert again.state == desk.record.state
    assert again.is_revoked(f"{first.serial_number:x}")
    assert [entry.serial for entry in again.revocations(NOW_S).certificates] == [f"{first.serial_number:x}"]


def test_what_another_process_wrote_is_not_lost(desk: Desk) -> None:
    """As splitctl broker config does beside a running controller."""
    desk.token()
    make_identity(desk.authority, TrustRecord(desk.folder), Subject("broker", "shop"), desk.folder / "b", now_s=NOW_S)
    desk.token("edge")
    assert TrustRecord(desk.folder).subjects(NOW_S) == {Subject("broker", "shop")}
    assert len(TrustRecord(desk.folder).state.joins) == 2


def test_the_record_holds_no_token(desk: Desk) -> None:
    token = desk.token()
    assert token not in (desk.folder / RECORD).read_text()
    assert stat.S_IMODE((desk.folder / RECORD).stat().st_mode) == 0o600


def test_a_damaged_record_is_refused(desk: Desk) -> None:
    (desk.folder / RECORD).write_text("{")
    with pytest.raises(InvalidConfiguration, match="damaged"):
        TrustRecord(desk.folder)


def test_entries_go_when_their_certificates_would_have_ended(desk: Desk) -> None:
    desk.certificate(desk.token())
    desk.record.revoke(Subject("node", "camera"), now_s=NOW_S)
    desk.now_s += 31 * DAY_S
    desk.token("edge")
    assert desk.record.state.certificates == ()


def test_where_the_authority_is_elsewhere_issuing_says_so(desk: Desk) -> None:
    (desk.folder / AUTHORITY_KEY).unlink()
    elsewhere = Authority.load(desk.folder)
    with pytest.raises(InvalidConfiguration, match="authority elsewhere"):
        Enrolments(elsewhere, desk.record, lambda: NOW_S).give("node", "camera", "0" * 64)


def test_a_key_of_another_authority_is_noticed(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    (desk.folder / AUTHORITY_KEY).write_bytes((other.folder / AUTHORITY_KEY).read_bytes())
    with pytest.raises(InvalidConfiguration, match="is not the key"):
        Authority.load(desk.folder)


def test_a_founded_fleet_has_a_controller_a_broker_and_an_operator(tmp_path: Path) -> None:
    founded = found(tmp_path)
    subjects = [Credentials.load(files).subject for files in (founded.controller, founded.broker, founded.operator)]
    assert subjects == [Subject("controller", "shop"), Subject("broker", "shop"), Subject("operator", "ann")]
    assert TrustRecord(tmp_path / "trust").subjects(time.time()) == {*subjects}
    with pytest.raises(InvalidConfiguration, match="holds an identity already"):
        found(tmp_path)
