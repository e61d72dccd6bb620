"""A secured data plane: who is let in as what, who is turned away with which sentence, and that serving goes on meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

import edgesplit
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import InvalidConfiguration, NodeUnreachable, NotTrusted, Overloaded
from edgesplit.trust.access import Access
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import Role
from edgesplit.trust.tls import TlsContexts
from edgesplit.trust.tokens import TokenGrant
from edgesplit.wire.frames import encode_frame, pack_tensors
from edgesplit.wire.headers import Failure, Infer, Ping, Pong
from tests.dataplane.fakes import QUIET, Plane, RawPeer, connected, plane
from tests.dataplane.fleets import MadeFleet
from tests.waiting import until

IMAGE = np.arange(12, dtype=np.float32)
LARGE = np.random.default_rng(0).integers(0, 256, 9_000_000, np.uint8)
DAY = timedelta(days=1)
FOR_EVER_S = 4e9


def guarded(fleet: MadeFleet, name: str = "device", **options: bool) -> Access:
    """Of a node that lets nobody in for being on its machine."""
    return fleet.node(name, local_clients=False, **options)


async def asked(address: str, files: TrustFiles) -> None:
    """A request with a certificate."""
    async with AsyncClient(address, ca_file=files.authority, cert_file=files.certificate, key_file=files.key) as client:
        np.testing.assert_array_equal((await client.infer("double", {"x": IMAGE}))["x"], IMAGE * 2)


async def raw(address: str, contexts: TlsContexts) -> RawPeer:
    """A peer that says what it wants, with somebody's certificate."""
    host, port = address.split(":")
    return RawPeer(*await asyncio.open_connection(host, int(port), ssl=contexts.client))


async def refusal(peer: RawPeer) -> str:
    """The sentence with which a connection ends."""
    (*_, failure) = await peer.hear_until_closed()
    assert isinstance(failure, Failure)
    assert failure.code == NotTrusted.code
    return failure.message


# --- peers ---------------------------------------------------------------------------------------------------------


async def test_two_agents_that_prove_their_names_exchange_tensors(fleet: MadeFleet) -> None:
    async with plane("device", access=guarded(fleet)) as device, plane("edge", access=guarded(fleet, "edge")) as edge:
        await connected(device, edge)
        await connected(edge, device)
        device.send("edge", "r", {"x": LARGE})
        edge.send("device", "s", {"x": LARGE})
        await until(lambda: bool(edge.handler.tensors and device.handler.tensors))
        for arrived in (*edge.handler.tensors, *device.handler.tensors):
            np.testing.assert_array_equal(arrived.arrays["x"], LARGE)


@pytest.mark.parametrize(
    ("role", "name", "says"),
    [
        ("node", "edge", "that of node edge, which cannot speak as node cloud"),
        ("operator", "cloud", "that of operator cloud, which cannot speak as node cloud"),
        ("client", "cloud", "that of client cloud, which cannot speak as node cloud"),
        ("controller", "cloud", "that of controller cloud, which cannot speak as node cloud"),
    ],
)
async def test_a_peer_speaks_only_for_the_node_in_its_certificate(
    fleet: MadeFleet, role: Role, name: str, says: str
) -> None:
    async with plane("device", access=guarded(fleet)) as device:
        liar = await raw(device.address, fleet.contexts(role, name))
        liar.greet(node="cloud")
        assert says in await refusal(liar)
        await until(lambda: device.data.refused["not-trusted"] == 1)


async def test_an_agent_without_a_certificate_is_none_even_on_this_machine(fleet: MadeFleet) -> None:
    async with plane("device", access=fleet.node("device")) as device:
        liar = RawPeer(*await asyncio.open_connection(*device.address.split(":")))
        liar.greet(node="edge")
        assert "show a node's certificate" in await refusal(liar)
        client = RawPeer(*await asyncio.open_connection(*device.address.split(":")))
        client.greet("client", node="edge")
        assert "show a node's certificate" in await refusal(client)


async def test_another_node_at_a_peers_address_is_told_nothing(fleet: MadeFleet) -> None:
    async with (
        plane("device", access=guarded(fleet)) as device,
        plane("cloud", access=guarded(fleet, "cloud")) as cloud,
    ):
        device.data.set_peers({"edge": cloud.address})
        await until(lambda: "node cloud answers where node edge was meant to" in reason(device))
        assert not cloud.data.refused


def reason(of: Plane) -> str:
    """Why its first peer is not reached."""
    return next((peer.reason for peer in of.data.unreached()), "")


@pytest.mark.parametrize(
    ("case", "says"),
    [("other", "is of another fleet"), ("expired", "takes the certificate here for expired: compare the clock")],
)
async def test_certificates_of_others_and_old_ones_are_refused_with_a_sentence_on_both_sides(
    fleet: MadeFleet, other_fleet: MadeFleet, tmp_path: Path, case: str, says: str
) -> None:
    made = other_fleet if case == "other" else fleet
    files = made.files("client", "ann", ends=-DAY if case == "expired" else DAY)
    files = replace(files, authority=fleet.files("node", "x").authority)
    async with plane("device", access=guarded(fleet)) as device:
        with capture_logs() as logs, pytest.raises(NotTrusted, match=says):
            await asked(device.address, files)
        await until(lambda: device.data.refused["failed-handshakes"] == 1)
        (line,) = [line for line in logs if line["event"] == "connection-refused"]
        assert "whoever connects from 127.0.0.1" in line["reason"]
        await asked(device.address, fleet.files("client", "ann"))


async def test_a_node_of_another_fleet_is_not_asked(fleet: MadeFleet, other_fleet: MadeFleet) -> None:
    async with plane("device", access=guarded(other_fleet)) as device:
        with pytest.raises(NotTrusted, match="is not of this fleet"):
            await asked(device.address, fleet.files("client", "ann"))


async def test_somebody_of_the_fleet_who_is_no_node_is_not_asked(fleet: MadeFleet) -> None:
    async with plane("device", access=Access(fleet.contexts("operator", "eve"))) as device:
        with pytest.raises(NotTrusted, match="operator eve answers where a node was meant to"):
            await asked(device.address, fleet.files("client", "ann"))


async def test_a_burst_that_tls_holds_at_once_is_read_to_its_end(
    fleet: MadeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one turn of the loop takes: what is decrypted already, the kernel no longer tells of."""
    from edgesplit.wire import connection

    monkeypatch.setattr(connection, "_BURST_BYTES", 100)
    async with plane("device", access=guarded(fleet)) as device:
        peer = await raw(device.address, fleet.contexts("client", "ann"))
        peer.greet("client", node="")
        peer.writer.write(b"".join(b"".join(encode_frame(Ping(sequence=number))) for number in range(1, 20_001)))
        answers = await peer.hear(20_001)
        assert [header.sequence for header in answers if isinstance(header, Pong)] == list(range(1, 20_001))
        peer.writer.close()


async def test_requests_and_answers_larger_than_all_buffers_cross_byte_for_byte(fleet: MadeFleet) -> None:
    files = fleet.files("client", "ann")
    async with plane("device", access=guarded(fleet)) as device:
        clients = [
            AsyncClient(device.address, ca_file=files.authority, cert_file=files.certificate, key_file=files.key)
            for _ in range(2)
        ]
        inputs = [LARGE + np.uint8(number) for number in range(6)]
        answers = await asyncio.gather(
            *(clients[number % 2].infer("double", {"x": each}) for number, each in enumerate(inputs))
        )
        for each, answer in zip(inputs, answers, strict=True):
            np.testing.assert_array_equal(answer["x"], each * 2)
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_secured_stream_that_ends_in_the_middle_of_a_frame_is_told_as_such(fleet: MadeFleet) -> None:
    heads, payloads = pack_tensors([("x", LARGE, "raw")])
    frame = b"".join(encode_frame(Infer(id=1, model="double", tensors=heads), payloads))
    async with plane("device", access=guarded(fleet)) as device:
        with capture_logs() as logs:
            peer = await raw(device.address, fleet.contexts("client", "ann"))
            peer.greet("client", node="")
            peer.writer.write(frame[:100_000])
            await peer.hear(1)
            peer.end()
            await until(lambda: any(line["event"] == "connection-broken-off" for line in logs))
        peer.writer.close()


# --- revocation ----------------------------------------------------------------------------------------------------


async def test_a_revoked_certificate_ends_open_connections_and_opens_no_more(fleet: MadeFleet) -> None:
    async with plane("device", access=guarded(fleet)) as device, plane("edge", access=guarded(fleet, "edge")) as edge:
        await connected(device, edge)
        await connected(edge, device)
        shown = await raw(device.address, fleet.contexts("node", "edge"))
        shown.greet(node="edge")
        await shown.hear(1)
        assert device.access is not None
        device.access.revoked = {fleet.serial("node", "edge")}
        device.data.drop_revoked()
        assert "was revoked" in await refusal(shown)
        await until(lambda: bool(device.handler.lost and edge.handler.lost))
        await until(lambda: "was revoked" in reason(device))
        await until(lambda: "was revoked" in reason(edge))
        again = await raw(device.address, fleet.contexts("node", "edge"))
        again.greet(node="edge")
        assert "was revoked" in await refusal(again)


async def test_requests_passed_on_end_when_the_sources_certificate_is_revoked(fleet: MadeFleet) -> None:
    async with plane("device", access=guarded(fleet)) as device, plane("edge", access=guarded(fleet, "edge")) as edge:
        outputs, _ = await device.data.forward_infer(edge.address, "double", {"x": IMAGE})
        np.testing.assert_array_equal(outputs["x"], IMAGE * 2)
        edge.handler.open.clear()
        waiting = asyncio.create_task(device.data.forward_infer(edge.address, "double", {"x": IMAGE}))
        await until(lambda: edge.handler.inferring == 2)
        assert device.access is not None
        device.access.revoked = {fleet.serial("node", "edge")}
        device.data.drop_revoked()
        with pytest.raises(NodeUnreachable, match="was revoked"):
            await waiting
        with pytest.raises(NotTrusted, match="was revoked"):
            await device.data.forward_infer(edge.address, "double", {"x": IMAGE})


# --- clients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["client", "operator", "node"])
async def test_clients_with_a_certificate_are_answered(fleet: MadeFleet, role: Role) -> None:
    async with plane("device", access=guarded(fleet)) as device:
        await asked(device.address, fleet.files(role, "ann"))
        files = fleet.files(role, "ann")

        def blocking() -> None:
            with edgesplit.connect(
                device.address, ca_file=files.authority, cert_file=files.certificate, key_file=files.key
            ) as node:
                for _ in range(3):
                    np.testing.assert_array_equal(node.infer("double", {"x": IMAGE})["x"], IMAGE * 2)
                np.testing.assert_array_equal(node.infer("double", {"x": LARGE})["x"], LARGE * 2)
                np.testing.assert_array_equal(node.submit("double", {"x": LARGE}).result(60)["x"], LARGE * 2)

        await asyncio.to_thread(blocking)


async def test_programs_of_this_machine_need_no_proof_unless_they_must(fleet: MadeFleet, tmp_path: Path) -> None:
    local = f"unix:{tmp_path}/agent.sock"
    async with plane("device", access=fleet.node("device"), socket=local) as device:
        for address in (device.address, local):
            async with AsyncClient(address) as client:
                await client.infer("double", {"x": IMAGE})
    async with plane("device", access=guarded(fleet), socket=local) as device:
        with pytest.raises(NotTrusted, match="over TLS alone"):
            await AsyncClient(device.address).connect()
        with pytest.raises(NotTrusted, match="a certificate of its fleet, or a token"):
            await AsyncClient(local).connect()
        authority = fleet.files("client", "ann").authority
        with pytest.raises(NotTrusted, match="a certificate of its fleet, or a token"):
            await AsyncClient(device.address, ca_file=authority).connect()
        assert device.data.refused["plain-connections"] == 1


async def test_tls_to_an_unsecured_port_is_a_sentence_on_both_sides(fleet: MadeFleet) -> None:
    async with plane("device") as device:
        with capture_logs() as logs:
            with pytest.raises(NotTrusted, match="does not speak TLS: it is not secured"):
                await AsyncClient(device.address, ca_file=fleet.files("client", "ann").authority).connect()
            await until(lambda: any("speaks TLS and this one does not" in str(line.get("reason")) for line in logs))


def granted(token: str, **limits: object) -> TokenGrant:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return TokenGrant("ann", digest, **{"expires_s": FOR_EVER_S, **limits})  # type: ignore[arg-type]


async def test_tokens_let_in_for_their_models_and_at_their_rate_until_they_end(fleet: MadeFleet) -> None:
    now = [1000.0]
    access = Access(fleet.contexts("node", "device"), local_clients=False, clock=lambda: now[0])
    access.tokens.replace([granted("est_a", models=("double",), rate_hz=0.2), granted("est_old", expires_s=999.0)])
    authority = fleet.files("client", "ann").authority
    async with plane("device", access=access) as device:
        async with AsyncClient(device.address, token="est_a", ca_file=authority) as client:
            with pytest.raises(NotTrusted, match="is not for model 'other'"):
                await client.infer("other", {"x": IMAGE})
            for _ in range(2):
                await client.infer("double", {"x": IMAGE})
            with pytest.raises(Overloaded, match="rate of 0"):
                await client.infer("double", {"x": IMAGE})
            now[0] += 5.0
            await client.infer("double", {"x": IMAGE})
            access.tokens.replace([])
            with pytest.raises(NotTrusted, match="was withdrawn"):
                await client.infer("double", {"x": IMAGE})
        for token, says in (("est_b", "is not known here"), ("est_old", "is not known here")):
            with pytest.raises(NotTrusted, match=says):
                await AsyncClient(device.address, token=token, ca_file=authority).connect()
        access.tokens.replace([granted("est_old", expires_s=999.0)])
        with pytest.raises(NotTrusted, match=r"has expired.*clock"):
            await AsyncClient(device.address, token="est_old", ca_file=authority).connect()
        assert device.handler.inferring == 3


async def test_a_token_never_leaves_the_machine_in_the_clear() -> None:
    with pytest.raises(InvalidConfiguration, match="over TLS alone: give ca_file"):
        AsyncClient("192.0.2.1:7400", token="est_a")
    with pytest.raises(InvalidConfiguration, match="give ca_file"):
        AsyncClient("127.0.0.1:7400", cert_file="certificate.pem")


# --- what strangers may cause --------------------------------------------------------------------------------------


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether a connection ends, having said nothing."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_half_open_handshakes_by_the_hundred_are_bounded_and_serving_goes_on(
    fleet: MadeFleet, said: bytes
) -> None:
    limits = replace(QUIET, handshakes=16, handshakes_per_address=16, connect_timeout_s=60.0)
    async with plane("device", access=guarded(fleet), limits=limits) as device:
        host, port = device.address.split(":")
        files = fleet.files("client", "ann")
        async with AsyncClient(
            device.address, ca_file=files.authority, cert_file=files.certificate, key_file=files.key
        ) as client:
            strangers = []
            for number in range(300):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(said)
                strangers.append((reader, writer))
                if number % 50 == 0:
                    await client.infer("double", {"x": IMAGE})
            await until(lambda: device.data.refused["handshakes"] == 300 - 16)
            await asked(device.address, files)
            await client.infer("double", {"x": IMAGE})
        # The last 16 of them still wait, or gave way to those who were asked.
        assert all([await closed(reader) for reader, _ in strangers[: 300 - 16]])
        for _, writer in strangers:
            writer.close()


async def test_a_handshake_that_trickles_ends_in_time(fleet: MadeFleet) -> None:
    async with plane("device", access=guarded(fleet), limits=replace(QUIET, connect_timeout_s=0.3)) as device:
        for said in (b"", b"\x16\x03\x01\x02\x00"):
            reader, writer = await asyncio.open_connection(*device.address.split(":"))
            writer.write(said)
            assert await closed(reader)
            writer.close()
        assert device.data.refused["slow-handshakes"] == 2


async def test_a_closed_plane_forgets_those_who_arrive(fleet: MadeFleet) -> None:
    async with plane("device", access=guarded(fleet)) as device:
        reader, writer = await asyncio.open_connection(*device.address.split(":"))
        writer.write(b"\x16\x03")
        await writer.drain()
        await asked(device.address, fleet.files("client", "ann"))  # whoever came before was accepted before
    assert await closed(reader)
    writer.close()
