"""The HTTP endpoint of a node in a secured fleet: who may ask what, over real TLS."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from edgesplit.errors import ArtifactMissing
from edgesplit.trust.access import Access
from edgesplit.trust.subjects import Role
from edgesplit.trust.tls import client_context
from edgesplit.trust.tokens import TokenGrant
from edgesplit_agent.artifacts.sources import CONTROLLER, Source
from edgesplit_agent.artifacts.transfer import Transfers
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.http.endpoint import HttpEndpoint
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from tests.dataplane.fleets import MadeFleet
from tests.openinference.fakes import FakeModels
from tests.waiting import until

BLOB = b"weights"
DIGEST = hashlib.sha256(BLOB).hexdigest()
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]}
INFER = "/v2/models/double/infer"
FOR_EVER_S = 4e9


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> MadeFleet:
    """One for all tests: certificates take time."""
    return MadeFleet(tmp_path_factory.mktemp("fleet"))


def grant(token: str, **limits: object) -> TokenGrant:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return TokenGrant("ann", digest, **{"expires_s": FOR_EVER_S, **limits})  # type: ignore[arg-type]


@dataclass
class Secured:
    """A running endpoint, and its clients."""

    endpoint: HttpEndpoint
    access: Access
    address: str
    fleet: MadeFleet

    async def ask(
        self, path: str, *, role: Role | None = None, token: str = "", infer: bool = False
    ) -> tuple[int, dict[str, str]]:
        """The status of an answer and its headers, to somebody with a certificate, a token, both or neither."""
        files = self.fleet.files("client", "nobody")
        context = client_context(files.authority) if role is None else self.fleet.contexts(role, "ann").client
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession(f"https://{self.address}", headers=headers) as client:
            made = client.post(path, json=REQUEST, ssl=context) if infer else client.get(path, ssl=context)
            async with made as response:
                return response.status, dict(response.headers)


@asynccontextmanager
async def secured(fleet: MadeFleet, folder: Path, *, local_clients: bool = False) -> AsyncGenerator[Secured]:
    """An endpoint that other machines reach, asked over loopback."""
    (folder / DIGEST).write_bytes(BLOB)
    access = Access(fleet.contexts("node", "device"), local_clients=local_clients)
    endpoint = HttpEndpoint(
        HttpSection(listen="0.0.0.0:0"),
        PrometheusMetrics("device", "1.0"),
        FakeModels(),
        blobs=folder,
        ready=lambda: True,
        version="1.0",
        access=access,
    )
    port = (await endpoint.start()).rpartition(":")[2]
    try:
        yield Secured(endpoint, access, f"127.0.0.1:{port}", fleet)
    finally:
        await endpoint.close()


@pytest.mark.parametrize(
    ("role", "blobs", "inference"),
    [("node", 200, 200), ("operator", 403, 200), ("client", 403, 200), ("controller", 200, 403), (None, 401, 401)],
)
async def test_rights_follow_the_role_in_the_certificate(
    fleet: MadeFleet, tmp_path: Path, role: Role | None, blobs: int, inference: int
) -> None:
    async with secured(fleet, tmp_path) as server:
        assert (await server.ask(f"/blobs/{DIGEST}", role=role))[0] == blobs
        assert (await server.ask(INFER, role=role, infer=True))[0] == inference
        assert (await server.ask("/v2/models/double", role=role))[0] == inference
        # This machine may read figures, whoever asks.
        assert (await server.ask("/metrics", role=role))[0] == 200
        assert (await server.ask("/v2/health/ready", role=role))[0] == 200


async def test_programs_of_this_machine_are_answered_where_they_may(fleet: MadeFleet, tmp_path: Path) -> None:
    async with secured(fleet, tmp_path, local_clients=True) as server:
        assert (await server.ask(INFER, infer=True))[0] == 200
        assert (await server.ask(f"/blobs/{DIGEST}"))[0] == 401


async def test_tokens_are_limited_to_models_rate_and_time(fleet: MadeFleet, tmp_path: Path) -> None:
    async with secured(fleet, tmp_path) as server:
        server.access.tokens.replace([grant("est_a", models=("double",), rate_hz=0.1), grant("est_old", expires_s=1.0)])
        status, headers = await server.ask(INFER, token="est_b", infer=True)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await server.ask(INFER, token="est_old", infer=True))[0] == 401
        assert (await server.ask("/v2/models/pair", token="est_a"))[0] == 403
        assert (await server.ask("/v2/models/pair/infer", token="est_a", infer=True))[0] == 403
        assert (await server.ask(f"/blobs/{DIGEST}", token="est_a"))[0] == 401
        assert (await server.ask(INFER, token="est_a", infer=True))[0] == 200
        status, headers = await server.ask(INFER, token="est_a", infer=True)
        assert status == 429
        assert 5 <= int(headers["Retry-After"]) <= 10
        assert server.endpoint.refused["http-not-trusted"] == 5


async def test_a_revoked_certificate_ends_connections_and_is_refused(fleet: MadeFleet, tmp_path: Path) -> None:
    async with secured(fleet, tmp_path) as server:
        contexts = fleet.contexts("node", "edge")
        async with aiohttp.ClientSession(f"https://{server.address}") as client:
            async with client.get(f"/blobs/{DIGEST}", ssl=contexts.client) as response:
                assert response.status == 200
            assert server.endpoint.connections == 1
            server.access.revoked = {fleet.serial("node", "edge")}
            server.endpoint.drop_revoked()
            assert server.endpoint.connections == 0
            async with client.get(f"/blobs/{DIGEST}", ssl=contexts.client) as response:
                assert response.status == 401
                assert "was revoked" in await response.text()


async def test_blobs_are_fetched_from_nodes_and_the_controller_and_nobody_else(
    fleet: MadeFleet, tmp_path: Path
) -> None:
    folder = tmp_path / "blobs"
    folder.mkdir()
    async with secured(fleet, folder) as server:
        mine = Transfers(fleet.contexts("node", "edge"))
        peer = Source("device", f"https://{server.address}", is_peer=True)
        assert await mine.held(peer, [DIGEST, "0" * 64]) == {DIGEST}
        await mine.download(peer, DIGEST, tmp_path / "part", len(BLOB))
        assert (tmp_path / "part").read_bytes() == BLOB
        # A node that stands where the controller should is asked nothing.
        with pytest.raises(aiohttp.ClientError):
            await mine.download(
                Source(CONTROLLER, f"https://{server.address}", is_peer=False), DIGEST, tmp_path / "part2", None
            )
        await mine.close()
        theirs = Transfers(fleet.contexts("operator", "ann"))
        with pytest.raises(ArtifactMissing, match="403"):
            await theirs.download(peer, DIGEST, tmp_path / "part3", len(BLOB))
        await theirs.close()


async def test_half_open_handshakes_are_bounded_and_serving_goes_on(
    fleet: MadeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgesplit.trust.https_entrance import EntranceLimits
    from edgesplit_agent.http import endpoint

    monkeypatch.setattr(endpoint, "EntranceLimits", lambda: EntranceLimits(per_address=8, within_s=60.0))
    async with secured(fleet, tmp_path) as server:
        strangers = []
        for _ in range(100):
            strangers.append(await asyncio.open_connection(*server.address.split(":")))
            strangers[-1][1].write(b"\x16\x03\x01\x02")
        await until(lambda: server.endpoint.refused["http-handshakes"] >= 92)
        assert (await server.ask(INFER, role="client", infer=True))[0] == 200
        for _, writer in strangers:
            writer.close()


async def test_plain_http_to_a_secured_port_is_refused_and_one_on_loopback_is_plain(
    fleet: MadeFleet, tmp_path: Path
) -> None:
    async with secured(fleet, tmp_path) as server, aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"http://{server.address}/metrics")
        await until(lambda: server.endpoint.refused["http-failed-handshakes"] >= 1)
    local = HttpEndpoint(
        HttpSection(listen="127.0.0.1:0"),
        PrometheusMetrics("device", "1.0"),
        FakeModels(),
        blobs=tmp_path,
        ready=lambda: True,
        version="1.0",
        access=Access(fleet.contexts("node", "device")),
    )
    address = await local.start()
    async with aiohttp.ClientSession(f"http://{address}") as client:
        async with client.post(INFER, json=REQUEST) as response:
            assert response.status == 200
        async with client.get(f"/blobs/{DIGEST}") as response:
            assert response.status == 401
    await local.close()
