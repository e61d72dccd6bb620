"""Certificates are renewed in time, over real TLS, and people hear early of those that cannot be."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.daemon.certificate_renewal import CertificateRenewal
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.enrolment import RenewAnswer
from edgesplit.trust.enrolment_client import ControllerPlace
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.renewal import Lifetime, RenewalWarnings
from edgesplit.trust.tls import TlsContexts
from tests.joining.fake_controller import FakeController
from tests.trust.authorities import DAY, MadeAuthority

NODE = "edgesplit://node/camera"


@given(st.floats(0, 1, exclude_max=True))
def test_renewal_is_due_around_two_thirds_of_a_life(draw: float) -> None:
    assert 0.6 * 30 <= Lifetime(0.0, 30.0).due_s(draw) <= 2 / 3 * 30


def test_a_certificate_that_cannot_be_renewed_is_told_at_once_and_each_time_half_is_gone() -> None:
    warnings, ends_s = RenewalWarnings(), 10 * 86_400.0
    said = [now_s for now_s in range(0, 11 * 86_400, 15) if warnings.is_due(ends_s - now_s, float(now_s))]
    assert said[:4] == pytest.approx([0, ends_s / 2, ends_s * 3 / 4, ends_s * 7 / 8], abs=15)
    assert any(ends_s <= now_s <= ends_s + 60 for now_s in said)
    assert len(said) < 40
    assert min(itertools.starmap(lambda sooner, later: later - sooner, itertools.pairwise(said))) >= 60
    warnings.renewed()
    assert warnings.is_due(ends_s, said[-1] + 1.0)


class Watched:
    """A node's renewal with its clock in hand."""

    def __init__(self, folder: Path, controller: FakeController, *, asks: bool = True) -> None:
        self.files = controller.authority.files(folder, uri=NODE, begins=-20 * DAY, ends=10 * DAY)
        self.contexts = TlsContexts.load(self.files)
        self.later_s = 0.0
        self.told: list[tuple[str, str]] = []
        self.taken: list[Credentials] = []
        self.url = controller.url
        self.renewal = CertificateRenewal(
            self.files,
            lambda: self.url,
            tell=lambda kind, text: self.told.append((kind, text)),
            taken=(self.taken.append, lambda _: self.contexts.renew()),
            asks=asks,
            clock=lambda: time.time() + self.later_s,
        )


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[FakeController]:
    with FakeController(tmp_path / "controller", MadeAuthority()) as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, controller: FakeController) -> Watched:
    return Watched(tmp_path / "node", controller)


async def test_a_certificate_is_renewed_over_tls_with_itself_and_taken_over(
    node: Watched, controller: FakeController
) -> None:
    before, key = node.renewal.credentials, node.files.key.read_bytes()
    await node.renewal.look()
    assert [kind for kind, _ in node.told] == ["certificate-renewed"]
    (now,) = node.taken
    assert now.facts.serial != before.facts.serial
    assert now.subject == before.subject
    assert now.facts.expires_s > before.facts.expires_s + 10 * 86_400
    assert Credentials.load(node.files).certificate == now.certificate
    assert node.files.key.read_bytes() == key
    assert node.files.certificate.stat().st_mode & 0o777 == 0o600
    await node.renewal.look()
    assert len(controller.heard) == 1


async def test_connections_that_are_open_stay_and_new_ones_show_the_next_certificate(node: Watched) -> None:
    peer = node.contexts
    with socket.create_server(("127.0.0.1", 0)) as listening:
        open_before = connected(listening, peer)
        await node.renewal.look()
        assert exchanged(open_before) == b"still here"
        shown = [serial(pair) for pair in (open_before, connected(listening, peer))]
    assert shown[0] != shown[1]
    assert int(shown[1], 16) == node.renewal.credentials.certificate.serial_number


def connected(listening: socket.socket, contexts: TlsContexts) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends of a connection between programs of these contexts."""
    accepted: list[ssl.SSLSocket] = []

    def accept() -> None:
        accepted.append(contexts.server.wrap_socket(listening.accept()[0], server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    client = contexts.client.wrap_socket(socket.create_connection(listening.getsockname()))
    thread.join()
    return client, accepted[0]


def exchanged(pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> bytes:
    pair[0].sendall(b"still here")
    return pair[1].recv(100)


def serial(pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> str:
    shown = pair[0].getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


async def test_what_is_not_due_is_left_alone(node: Watched, controller: FakeController) -> None:
    node.later_s = -15 * 86_400.0
    await node.renewal.look()
    assert not controller.heard


async def test_failures_are_tried_again_ever_later_and_told_early(node: Watched, controller: FakeController) -> None:
    controller.refusal = (403, "not-trusted", "the certificate was revoked")
    asked: list[float] = []
    for step in range(0, 3600, 15):
        node.later_s = float(step)
        before = len(controller.heard)
        await node.renewal.look()
        asked += [node.later_s] * (len(controller.heard) - before)
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert 6 <= len(asked) <= 15
    assert max(pauses) > 300 > pauses[1]
    assert len(node.told) == 1
    kind, text = node.told[0]
    assert kind == "certificate-not-renewed"
    assert "ends in 10 days and cannot be renewed: the certificate was revoked" in text
    node.later_s = 10.1 * 86_400.0
    await node.renewal.look()
    assert node.told[-1][0] == "certificate-expired"
    assert "clock" in node.told[-1][1]
    controller.refusal, node.later_s = None, node.later_s + 3600.0
    controller.life = (-DAY, 60 * DAY)
    node.later_s = 2 * 3600.0
    node.renewal._retry = None
    await node.renewal.look()
    assert node.told[-1][0] == "certificate-renewed"


@pytest.mark.parametrize(("url", "said"), [("", "has not said yet"), ("http://192.0.2.1:7480", "is not secured")])
async def test_a_controller_that_is_not_there_is_a_reason(node: Watched, url: str, said: str) -> None:
    node.url = url
    await node.renewal.look()
    assert node.told[0][0] == "certificate-not-renewed"
    assert said in node.told[0][1]


async def test_a_certificate_that_others_put_there_is_taken_over(tmp_path: Path, controller: FakeController) -> None:
    node = Watched(tmp_path / "node", controller, asks=False)
    await node.renewal.look()
    assert node.told[0][0] == "certificate-not-renewed"
    fresh = controller.authority.files(tmp_path / "fresh", uri=NODE, ends=40 * DAY)
    for name in ("key", "certificate"):
        source, target = getattr(fresh, name), getattr(node.files, name)
        source.replace(target)
    await node.renewal.look()
    assert node.told[-1][0] == "certificate-renewed"
    assert not controller.heard
    node.files.certificate.write_text("nothing")
    await node.renewal.look()
    node.later_s = 3600.0
    node.files.certificate.unlink()
    await node.renewal.look()
    assert node.told[-1][0] == "certificate-not-renewed"
    assert "cannot be used" in node.told[-1][1]


async def test_a_certificate_for_another_is_not_taken(node: Watched, controller: FakeController) -> None:
    before = node.files.certificate.read_bytes()
    controller.subject = "edgesplit://node/gate"
    await node.renewal.look()
    assert node.files.certificate.read_bytes() == before
    assert "certificate of node gate" in node.told[0][1]


async def test_a_disk_that_is_full_keeps_the_old_certificate(tmp_path: Path, controller: FakeController) -> None:
    node = Watched(tmp_path / "node", controller)

    def fails(_place: ControllerPlace, _files: TrustFiles) -> RenewAnswer:
        raise OSError(28, "No space left on device")

    full = CertificateRenewal(
        node.files, lambda: controller.url, tell=lambda kind, text: node.told.append((kind, text)), ask=fails
    )
    await full.look()
    assert "No space left" in node.told[0][1]
