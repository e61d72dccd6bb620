"""The controller's HTTPS in a secured fleet: joining and renewing over it, and who may use which route."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from edgesplit.daemon.certificate_renewal import CertificateRenewal
from edgesplit.trust.credentials import Credentials, certificate_request, new_key, read_certificates, verify
from edgesplit.trust.enrolment import JoinAnswer, JoinRequest, JoinToken, RenewAnswer, RenewRequest, token_digest
from edgesplit.trust.enrolment_client import ControllerPlace
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.https_entrance import EntranceLimits
from edgesplit.trust.subjects import CONTROLLER_HOST, PeerCertificate, Subject
from edgesplit.trust.tls import TlsContexts
from edgesplit_controller.artifacts import artifact_server
from edgesplit_controller.artifacts.artifact_server import ArtifactServer
from edgesplit_controller.artifacts.trust_routes import TrustRoutes
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.storage.backup_snapshots import BackupSnapshots
from edgesplit_controller.storage.write_health import StoreHealth
from edgesplit_controller.trust.fleet_trust import FleetTrust
from edgesplit_controller.trust.identities import make_identity
from tests.trust.authorities import MadeAuthority
from tests.trust.secured_broker import found
from tests.waiting import until

CONTENT = b"weights" * 1000
CAMERA = Subject("node", "camera")


class Secured:
    """A controller's HTTPS, and programs that ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.founded = found(folder)
        self.told: list[str] = []
        self.trust = FleetTrust(
            folder / "trust",
            send=lambda _topic, _payload: False,
            broker_url=lambda: "mqtts://10.9.0.9:8883",
            events=EventLog(None, lambda _event: None),
        )
        self.blobs = BlobStore(folder / "blobs")
        (folder / "uploads").mkdir()
        self.server = ArtifactServer(
            self.blobs,
            UploadReceiver(folder / "uploads", 1 << 20),
            metrics=lambda: b"up 1\n",
            health=lambda: (True, "ok"),
            backups=BackupSnapshots(folder, StoreHealth(folder)),
            trust=TrustRoutes(self.trust, lambda _what, _kind, text: self.told.append(text)),
        )
        self.base = ""

    def identity(self, subject: Subject) -> TrustFiles:
        """Of somebody who joined."""
        folder = self.folder / subject.common_name
        return make_identity(self.founded.authority, self.trust.record, subject, folder, now_s=time.time())

    def token(self, name: str = "camera") -> str:
        """A join token that was given."""
        token = str(JoinToken.new(self.trust.authority.digest))
        self.trust.enrolments.give("node", name, token_digest(token))
        return token

    def session(self, files: TrustFiles | None) -> aiohttp.ClientSession:
        """Of the holder of an identity; None: of somebody who knows the authority alone."""
        if files is None:
            context = ssl.create_default_context(cadata=self.trust.authority.pem.decode())
        else:
            context = TlsContexts.load(files).client
        return aiohttp.ClientSession(self.base, connector=aiohttp.TCPConnector(ssl=context))

    async def ask(
        self, files: TrustFiles | None, method: str, path: str, body: msgspec.Struct | bytes | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        data = msgspec.json.encode(body) if isinstance(body, msgspec.Struct) else body
        async with (
            self.session(files) as session,
            session.request(method, path, data=data, server_hostname=CONTROLLER_HOST) as answer,
        ):
            return answer.status, await answer.read()

    async def join(self, token: str, name: str = "camera", **changes: Any) -> tuple[int, bytes]:
        """Ask to join; status and body."""
        request = certificate_request(new_key(), Subject("node", name)).decode()
        asked = JoinRequest(**{"token": token, "kind": "node", "name": name, "request": request, **changes})
        return await self.ask(None, "POST", "/trust/join", asked)


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    running = Secured(tmp_path)
    running.base = f"https://{await running.server.start('127.0.0.1', 0)}"
    yield running
    await running.server.close()
    await running.trust.close()


def refusal(answered: tuple[int, bytes]) -> tuple[int, str]:
    """Status and sentence of a refusal."""
    status, body = answered
    return status, msgspec.json.decode(body)["error"]["message"]


async def test_a_program_with_a_token_joins_and_renews(secured: Secured) -> None:
    status, pem = await secured.ask(None, "GET", "/trust/authority")
    assert (status, pem) == (200, secured.trust.authority.pem)
    key = new_key()
    request = certificate_request(key, CAMERA).decode()
    status, body = await secured.join(secured.token(), request=request, addresses=("10.9.0.3",))
    answer = msgspec.json.decode(body, type=JoinAnswer)
    assert (status, answer.broker, answer.name) == (200, "mqtts://10.9.0.9:8883", "camera")
    (certificate,) = read_certificates(answer.certificate.encode())
    assert verify(certificate, read_certificates(pem), now_s=time.time()).subject == CAMERA
    status, body = await secured.ask(secured.identity(CAMERA), "POST", "/trust/renew", RenewRequest(request=request))
    (renewed,) = read_certificates(msgspec.json.decode(body, type=RenewAnswer).certificate.encode())
    assert status == 200
    assert renewed.public_key() == key.public_key()


async def test_of_eight_who_come_at_once_with_one_token_one_joins(secured: Secured) -> None:
    token = secured.token()
    answers = await asyncio.gather(*(secured.join(token) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] + 7 * [401]
    assert len(secured.trust.record.trusted(CAMERA, time.time())) == 1


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"token": "esj_nonsense"}, 401, "no join token"),
        ({"token": "esj_" + "A" * 64}, 401, "another fleet"),
        ({"name": "edge"}, 401, "is for node camera"),
        ({"request": certificate_request(new_key(), Subject("node", "edge")).decode()}, 400, "not of node camera"),
        ({"request": "x" * 70_000}, 400, "at most 65536 bytes"),
        ({"kind": "controller"}, 400, "cannot be read"),
        ({"name": "../../etc/passwd"}, 401, "is for node camera"),
    ],
)
async def test_a_wrong_question_is_refused_with_a_sentence_and_changes_nothing(
    secured: Secured, changes: dict[str, Any], status: int, says: str
) -> None:
    token = secured.token()
    body = {"token": token, "kind": "node", "name": "camera", "request": "", **changes}
    body["request"] = body["request"] or certificate_request(new_key(), CAMERA).decode()
    found_status, sentence = refusal(await secured.ask(None, "POST", "/trust/join", msgspec.json.encode(body)))
    assert (found_status, says in sentence) == (status, True), sentence
    assert secured.server.refused["join-refused"] == 1
    assert any(says in text for text in secured.told)
    assert token not in sentence
    assert (await secured.join(token))[0] == 200


async def test_a_name_that_is_held_is_a_conflict(secured: Secured) -> None:
    token = secured.token()
    secured.identity(CAMERA)
    assert (await secured.join(token))[0] == 409


async def test_wrong_tokens_are_limited_in_number(secured: Secured) -> None:
    for _ in range(10):
        assert (await secured.join("esj_" + "A" * 64))[0] == 401
    status, sentence = refusal(await secured.join(secured.token()))
    assert (status, "try again in" in sentence) == (429, True)


async def test_renewing_takes_a_certificate_that_is_trusted(secured: Secured) -> None:
    asked = RenewRequest(request=certificate_request(new_key(), CAMERA).decode())
    assert (await secured.ask(None, "POST", "/trust/renew", asked))[0] == 403
    files = secured.identity(CAMERA)
    await secured.trust.revoke(CAMERA)
    assert refusal(await secured.ask(files, "POST", "/trust/renew", asked)) == (
        403,
        "the certificate of node camera was revoked: join again, if you may",
    )


async def test_the_controller_issues_its_own_next_certificate_and_shows_it_at_once(secured: Secured) -> None:
    files = secured.founded.controller
    before = Credentials.load(files)
    loop = asyncio.get_running_loop()

    def ask(_place: ControllerPlace, asked: TrustFiles) -> RenewAnswer:
        async def issue() -> RenewAnswer:
            return secured.trust.renew_own(Credentials.load(asked))

        return asyncio.run_coroutine_threadsafe(issue(), loop).result()

    soon_s = time.time() + 21 * 86_400
    told: list[str] = []
    renewal = CertificateRenewal(
        files,
        lambda: "https://here",
        tell=lambda kind, _text: told.append(kind),
        taken=(lambda _credentials: secured.trust.contexts.renew(),),
        ask=ask,
        clock=lambda: soon_s,
    )
    await renewal.look()
    after = Credentials.load(files)
    assert told == ["certificate-renewed"]
    assert after.subject == before.subject
    assert after.facts.serial != before.facts.serial
    host, port = secured.base.removeprefix("https://").rsplit(":", 1)
    context = TlsContexts.load(secured.founded.operator).client
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = PeerCertificate.of(writer.get_extra_info("ssl_object"))
    assert shown is not None and shown.serial == after.facts.serial
    writer.close()


async def test_who_may_use_which_route(secured: Secured) -> None:
    digest = secured.blobs.put(CONTENT)
    upload = hashlib.sha256(CONTENT).hexdigest()
    holders = {
        None: None,
        "node": secured.identity(CAMERA),
        "operator": secured.founded.operator,
        "client": secured.identity(Subject("client", "till")),
        "broker": secured.founded.broker,
    }
    found = {
        (role, path.partition("/")[0]): (await secured.ask(files, method, f"/{path}", body))[0]
        for role, files in holders.items()
        for method, path, body in (
            ("GET", f"blobs/{digest}", None),
            ("PUT", f"uploads/{upload}", CONTENT),
            ("GET", "metrics", None),
            ("GET", "backups/0123", None),
            ("GET", "nowhere", None),
        )
    }
    assert found == {
        (role, route): status
        for role, statuses in {
            None: (403, 403, 200, 403, 403),  # from loopback
            "node": (200, 403, 200, 403, 403),
            "operator": (200, 201, 200, 404, 403),
            "client": (403, 403, 200, 403, 403),
            "broker": (403, 403, 200, 403, 403),
        }.items()
        for route, status in zip(("blobs", "uploads", "metrics", "backups", "nowhere"), statuses, strict=True)
    }


async def test_a_large_blob_arrives_whole_over_tls(secured: Secured) -> None:
    content = bytes(range(256)) * 40_000
    digest = secured.blobs.put(content)
    status, body = await secured.ask(secured.identity(CAMERA), "GET", f"/blobs/{digest}")
    assert (status, body == content) == (200, True)


@pytest.mark.parametrize("kind", ["another fleet's", "expired"])
async def test_a_certificate_that_is_not_good_ends_the_handshake_counted_and_told(
    secured: Secured, tmp_path: Path, kind: str
) -> None:
    if kind == "expired":
        soon = make_identity(
            secured.founded.authority,
            secured.trust.record,
            CAMERA,
            tmp_path / "old",
            now_s=time.time() - timedelta(days=31).total_seconds(),
        )
    else:
        soon = MadeAuthority().files(tmp_path / "other", uri="edgesplit://operator/eve")
    context = TlsContexts.load(soon).client
    context.verify_mode = ssl.CERT_NONE  # it would not believe the controller either
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{secured.base}/metrics")
    await until(lambda: secured.server.refused["http-failed-handshakes"] > 0, "the handshake was counted")
    assert any("of another authority" in text or "has expired: compare the clock" in text for text in secured.told)


async def test_plain_http_gets_no_answer(secured: Secured) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(secured.base.replace("https", "http") + "/metrics")
    await until(lambda: secured.server.refused["http-failed-handshakes"] > 0, "it was counted")


async def test_whoever_is_revoked_loses_an_open_connection(secured: Secured) -> None:
    secured.trust.on_change.append(secured.server.end_revoked)
    files = secured.identity(CAMERA)
    host, port = secured.base.removeprefix("https://").rsplit(":", 1)
    context = TlsContexts.load(files).client
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=CONTROLLER_HOST)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: controller\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await secured.trust.revoke(CAMERA)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
    writer.close()


async def test_handshakes_that_do_not_end_are_bounded_in_number_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = EntranceLimits(at_once=8, per_address=4, within_s=0.3)
    monkeypatch.setattr(artifact_server, "ENTRANCE_LIMITS", limits)
    running = Secured(tmp_path)
    running.base = f"https://{await running.server.start('127.0.0.1', 0)}"
    host, port = running.base.removeprefix("https://").rsplit(":", 1)
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
    await until(lambda: running.server.refused["http-handshakes"] == 16, "all but the last four have given way")
    async with asyncio.timeout(10):
        for reader, _ in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
    assert (await running.ask(None, "GET", "/health"))[0] == 200
    for _, writer in silent:
        writer.close()
    await running.server.close()
