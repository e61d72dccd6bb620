"""TLS of a fleet: who a peer is, who is turned away, and why, over real handshakes in memory."""

from __future__ import annotations

import contextlib
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.files import write_private
from edgesplit.trust.subjects import PeerCertificate, Subject, subject_of
from edgesplit.trust.tls import TlsContexts, explain_handshake
from tests.trust.authorities import MadeAuthority


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake, exchanged until neither wants more; TLS 1.3 tells a client that it is refused afterwards."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    with contextlib.suppress(ssl.SSLWantReadError):  # nothing was refused and nothing was said
        ends[0].read(1)
    return ends


def test_both_sides_learn_who_the_other_is(tmp_path: Path) -> None:
    authority = MadeAuthority()
    camera = TlsContexts.load(authority.files(tmp_path / "a", uri="edgesplit://node/camera"))
    edge = TlsContexts.load(authority.files(tmp_path / "b", common_name="node:edge"))
    client, server = _shake_hands(camera.client, edge.server)
    assert client.version() == "TLSv1.3"
    seen, shown = PeerCertificate.of(client), PeerCertificate.of(server)
    assert seen is not None and seen.subject == Subject("node", "edge")
    assert shown is not None and shown.subject == Subject("node", "camera")


@pytest.mark.parametrize(
    ("begins", "ends", "other", "says"),
    [
        (-1, -0.1, False, "has expired: compare the clock"),
        (0.1, 1, False, "is not valid yet: compare the clock"),
        (-1, 1, True, "is not of this fleet"),
    ],
)
def test_a_server_with_a_wrong_certificate_is_not_believed(
    tmp_path: Path, begins: float, ends: float, other: bool, says: str
) -> None:
    authority = MadeAuthority()
    camera = TlsContexts.load(authority.files(tmp_path / "a", uri="edgesplit://node/camera"))
    wrong = (MadeAuthority() if other else authority).files(
        tmp_path / "b", uri="edgesplit://node/edge", begins=timedelta(days=begins), ends=timedelta(days=ends)
    )
    with pytest.raises(ssl.SSLError) as refused:
        _shake_hands(camera.client, TlsContexts.load(wrong).server)
    assert says in explain_handshake(refused.value, "node edge at 10.9.0.2:7400")


def test_a_client_without_a_certificate_comes_in_where_strangers_may(tmp_path: Path) -> None:
    files = MadeAuthority().files(tmp_path, uri="edgesplit://node/edge")
    edge = TlsContexts.load(files)
    stranger = ssl.create_default_context(cafile=str(files.authority))
    stranger.check_hostname = False
    _, server = _shake_hands(stranger, edge.open_server)
    assert PeerCertificate.of(server) is None
    with pytest.raises(ssl.SSLError) as refused:
        _shake_hands(stranger, edge.server)
    assert refused.value.reason is not None


def test_a_renewed_certificate_holds_from_the_next_handshake_on(tmp_path: Path) -> None:
    authority = MadeAuthority()
    edge = TlsContexts.load(authority.files(tmp_path / "b", uri="edgesplit://node/edge"))
    camera = TlsContexts.load(authority.files(tmp_path / "a", uri="edgesplit://node/camera"))
    before = PeerCertificate.of(_shake_hands(camera.client, edge.server)[0])
    authority.files(tmp_path / "b", uri="edgesplit://node/edge")
    edge.renew()
    after = PeerCertificate.of(_shake_hands(camera.client, edge.server)[0])
    assert before is not None and after is not None and before.serial != after.serial


@pytest.mark.parametrize(
    ("uri", "common_name"),
    [("edgesplit://king/x", ""), ("https://node/x", ""), ("edgesplit://node/", ""), ("", "node:"), ("", "camera")],
)
def test_names_without_a_role_speak_for_nobody(uri: str, common_name: str) -> None:
    assert subject_of([uri], [common_name]) is None


def test_a_name_survives_its_way_through_a_certificate() -> None:
    subject = Subject("node", "a.b-c_D%/é")
    assert subject_of([subject.uri], []) == subject
    with pytest.raises(ValueError, match="55 characters"):
        _ = Subject("node", "x" * 56).common_name


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    write_private(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["key.pem"]


def test_missing_and_wrong_files_are_one_sentence(tmp_path: Path) -> None:
    files = MadeAuthority().files(tmp_path, uri="edgesplit://node/edge")
    files.key.write_bytes(b"no key")
    with pytest.raises(InvalidConfiguration, match="does not hold what TLS needs"):
        TlsContexts.load(files)
    files.authority.unlink()
    with pytest.raises(InvalidConfiguration, match="cannot be read: No such file"):
        TlsContexts.load(files)
