"""Signed messages: only what this signer said, on this topic, with this counter, is taken."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from edgesplit.errors import NotTrusted
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.signing import SignatureCheck, Signer
from edgesplit.trust.subjects import Subject
from tests.trust.authorities import MadeAuthority

TOPIC = "edgesplit/1/nodes/camera/desired/m"
MESSAGE = b'{"model": "m",  "epochs": []}'


@pytest.fixture
def authority() -> MadeAuthority:
    """Of the fleet."""
    return MadeAuthority()


def _credentials(authority: MadeAuthority, folder: Path, uri: str = "edgesplit://controller/one") -> Credentials:
    return Credentials.load(authority.files(folder, uri=uri))


def test_what_was_signed_comes_out_byte_for_byte(authority: MadeAuthority, tmp_path: Path) -> None:
    controller = _credentials(authority, tmp_path / "c")
    node = _credentials(authority, tmp_path / "n", "edgesplit://node/camera")
    payload = Signer(controller).sign(TOPIC, MESSAGE, now_s=time.time())
    opened = SignatureCheck(node).opened(TOPIC, payload, role="controller", now_s=time.time())
    assert opened.message == MESSAGE
    assert opened.signer.subject == Subject("controller", "one")


def test_the_counter_grows_even_where_the_clock_goes_back(authority: MadeAuthority, tmp_path: Path) -> None:
    signer = Signer(_credentials(authority, tmp_path))
    check = SignatureCheck(_credentials(authority, tmp_path))
    now_s = time.time()
    counters = [
        check.opened(TOPIC, signer.sign(TOPIC, MESSAGE, now_s=at), role="controller", now_s=now_s).counter
        for at in (now_s, now_s, now_s - 3600, now_s + 1)
    ]
    assert counters == sorted(set(counters))


def _changed(payload: bytes, **changes: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(payload), **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"message": {"model": "other", "epochs": []}}, "another message"),
        ({"counter": 9_000_000_000_000_000}, "another message"),
        ({"signature": "AAAA"}, "another message"),
        ({"signature": "no base64!"}, "not signed"),
        ({"certificate": "AAAA"}, "certificate is none"),
    ],
)
def test_a_changed_envelope_is_refused(
    authority: MadeAuthority, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    credentials = _credentials(authority, tmp_path)
    payload = Signer(credentials).sign(TOPIC, MESSAGE, now_s=time.time())
    with pytest.raises(NotTrusted, match=reason):
        SignatureCheck(credentials).opened(TOPIC, _changed(payload, **changes), role="controller", now_s=time.time())


def test_a_message_counts_on_its_own_topic_alone(authority: MadeAuthority, tmp_path: Path) -> None:
    credentials = _credentials(authority, tmp_path)
    payload = Signer(credentials).sign(TOPIC, MESSAGE, now_s=time.time())
    with pytest.raises(NotTrusted, match="another message"):
        SignatureCheck(credentials).opened(
            TOPIC.replace("camera", "edge"), payload, role="controller", now_s=time.time()
        )


def test_who_may_not_decide_is_refused(authority: MadeAuthority, tmp_path: Path) -> None:
    check = SignatureCheck(_credentials(authority, tmp_path / "me"))
    now_s = time.time()

    def opened(credentials: Credentials) -> None:
        check.opened(TOPIC, Signer(credentials).sign(TOPIC, MESSAGE, now_s=now_s), role="controller", now_s=now_s)

    with pytest.raises(NotTrusted, match="node edge signed it, and only a controller may"):
        opened(_credentials(authority, tmp_path / "n", "edgesplit://node/edge"))
    with pytest.raises(NotTrusted, match="another authority"):
        opened(_credentials(MadeAuthority(), tmp_path / "o"))
    old = authority.files(tmp_path / "old", uri="edgesplit://controller/one", ends=timedelta(hours=-1))
    with pytest.raises(NotTrusted, match="expired: compare the clocks"):
        opened(Credentials.load(old))
    early = authority.files(tmp_path / "early", uri="edgesplit://controller/one", begins=timedelta(hours=1))
    with pytest.raises(NotTrusted, match="not valid yet: compare the clocks"):
        opened(Credentials.load(early))
    revoked = _credentials(authority, tmp_path / "r")
    check.revoked = {revoked.facts.serial}
    with pytest.raises(NotTrusted, match="revoked"):
        opened(revoked)


def test_an_unsigned_message_is_refused(authority: MadeAuthority, tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="not signed"):
        SignatureCheck(_credentials(authority, tmp_path)).opened(TOPIC, MESSAGE, role="controller", now_s=time.time())
