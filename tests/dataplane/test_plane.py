from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from edgesplit.errors import FrameTooLarge, InvalidInput, InvalidTensor, PeerUnreachable
from edgesplit.release import PROTOCOL
from edgesplit.wire.frames import PREFIX, FrameLimits, encode_frame
from edgesplit.wire.headers import Ack, ExecutionKey, Failure, Hello, Ping, Pong, Probe, Tensors
from edgesplit_agent.dataplane.emulation import EmulatedLink, Emulation
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.serving.machine.events import AbortReceived
from tests.dataplane.fakes import DEADLINE_S, QUIET, RawPeer, connected, plane, server_context
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("both_ways")
BIG = np.linspace(-1, 1, 1_500_000, dtype=np.float32)


@pytest.mark.parametrize(("codec", "tolerance"), [("raw", 0), ("fp16", 1e-3), ("int8", 5e-3)])
async def test_tensors_reach_the_peer_and_are_acknowledged(codec: str, tolerance: float) -> None:
    async with plane("device") as device, plane("edge") as edge:
        await connected(device, edge)
        device.send("edge", "r1", {"big": BIG, "small": np.array([[1, 2]])}, codec)
        await until(lambda: bool(device.handler.counted and edge.handler.tensors))
        arrived = edge.handler.tensors[0]
        assert (arrived.peer, arrived.key) == ("device", ExecutionKey("m", 3, "r1"))
        assert 0 < (arrived.deadline_s or 0) <= DEADLINE_S
        arrays = arrived.arrays
        np.testing.assert_allclose(arrays["big"], BIG, atol=tolerance)
        assert arrays["big"].dtype == np.float32
        assert arrays["small"].tolist() == [[1, 2]]
        peer, request, nbytes, seconds = device.handler.counted[0]
        assert (peer, request) == ("edge", "r1")
        assert nbytes >= BIG.nbytes * {"raw": 1, "fp16": 0.5, "int8": 0.25}[codec]
        assert seconds > 0


async def test_many_requests_arrive_in_order_and_complete() -> None:
    async with plane("device") as device, plane("edge") as edge:
        await connected(device, edge)
        for index in range(200):
            device.send("edge", str(index), {"x": np.full(2000, index)})
        await until(lambda: len(device.handler.counted) == 200)
        assert [event.key.request for event in edge.handler.tensors] == [str(index) for index in range(200)]
        assert all((event.arrays["x"] == int(event.key.request)).all() for event in edge.handler.tensors)


async def test_aborts_reach_the_peer_with_code_and_sentence() -> None:
    async with plane("device") as device, plane("edge") as edge:
        device.data.send_abort("edge", ExecutionKey("m", 1, "r"), "x", "nobody hears this")
        await connected(device, edge)
        device.data.send_abort("edge", ExecutionKey("m", 1, "r"), "request-failed", "it broke")
        await until(lambda: bool(edge.handler.aborts))
        assert edge.handler.aborts == [AbortReceived("device", ExecutionKey("m", 1, "r"), "request-failed", "it broke")]


async def test_a_caller_that_cannot_be_told_notices_by_the_end_of_its_connection() -> None:
    """It started again at another address, of which nobody could tell this one."""
    async with plane("device") as device, plane("edge") as edge:
        device.data.set_peers({"edge": edge.address})
        await until(lambda: device.data.is_up("edge") and edge.data.callers == {"device"})
        device.handler.lost.clear()
        edge.data.send_abort("device", ExecutionKey("m", 1, "r"), "not-deployed", "edge has nothing of it")
        await until(lambda: bool(device.handler.lost))
        assert [event.peer for event in device.handler.lost] == ["edge"]
        await until(lambda: device.data.is_up("edge"))  # it comes back, and its agent relies on it once it stays


async def test_links_are_measured_without_any_request() -> None:
    async with plane("device", limits=Limits()) as device, plane("edge") as edge:
        assert device.data.links() == ()
        await connected(device, edge)
        await until(lambda: bool(device.data.links()))
        (link,) = device.data.links()
        assert (link.to, link.up, link.origin) == ("edge", True, "measured")
        assert link.bandwidth_bytes_per_s > 0
        assert link.latency_s > 0


async def test_an_emulated_link_is_measured_as_what_it_emulates() -> None:
    emulation = Emulation(links={"edge": EmulatedLink(bandwidth_bytes_per_s=2e6, latency_s=0.03)})
    async with plane("device", emulation=emulation, limits=Limits()) as device, plane("edge") as edge:
        await connected(device, edge)
        await until(lambda: bool(device.data.links()))
        (link,) = device.data.links()
        # Loopback's is a thousand times that; how near an estimate comes is told in virtual time (test_links).
        assert link.bandwidth_bytes_per_s < 20e6
        assert link.latency_s >= 0.0149  # no answer comes sooner, however busy this machine is


async def test_sending_to_a_peer_that_is_away_fails_at_once() -> None:
    async with plane("device") as device:
        with pytest.raises(PeerUnreachable, match="edge is not known"):
            device.send("edge", "r", {"x": BIG})
        device.data.set_peers({"edge": "127.0.0.1:1"})
        with pytest.raises(PeerUnreachable, match="not connected"):
            device.send("edge", "r", {"x": BIG})
        assert not device.data.is_up("edge")


async def test_a_peer_that_is_not_reached_is_told_with_the_reason() -> None:
    async with plane("device") as device:
        device.data.set_peers({"edge": "127.0.0.1:1"})
        await until(lambda: any("refused" in peer.reason for peer in device.data.unreached()))
        assert [peer.to for peer in device.data.unreached()] == ["edge"]


async def test_what_cannot_travel_is_refused_where_it_is_sent() -> None:
    async with plane("device") as device, plane("edge") as edge:
        await connected(device, edge)
        with pytest.raises(InvalidTensor, match="'x' has dtype complex128"):
            device.send("edge", "r", {"x": np.zeros(2, complex)})
        with pytest.raises(InvalidInput, match="'zip' of tensor 'x'"):
            device.send("edge", "r", {"x": np.zeros(2)}, "zip")
        assert device.data.is_up("edge")


async def test_what_a_slow_peer_does_not_take_waits_in_order_and_the_agent_is_told() -> None:
    slow = Emulation(links={"edge": EmulatedLink(bandwidth_bytes_per_s=1e3)})
    limits = replace(QUIET, queue_bytes=10_000_000)
    async with plane("device", emulation=slow, limits=limits) as device, plane("edge") as edge:
        await connected(device, edge)
        for name in ("r1", "r2", "r3"):
            device.send("edge", name, {"x": BIG})
        assert device.handler.pressed == [True]
        assert device.data.is_up("edge")


async def test_a_backlog_leaves_when_there_is_room_and_ended_requests_are_left_out() -> None:
    limits = replace(QUIET, queue_bytes=10_000_000)
    async with plane("device", limits=limits) as device, plane("edge") as edge:
        await connected(device, edge)
        for number in range(12):
            device.send("edge", str(number), {"x": BIG})
        assert device.handler.pressed == [True]
        device.data.send_abort("edge", ExecutionKey("m", 3, "11"), "request-failed", "cancelled")
        await until(lambda: len(edge.handler.tensors) == 11)
        await until(lambda: device.handler.pressed == [True, False])
        assert [event.key.request for event in edge.handler.tensors] == [str(number) for number in range(11)]


async def test_a_lost_peer_is_told_once_and_taken_in_again_when_it_returns() -> None:
    limits = replace(QUIET, retry_max_s=0.1)
    async with plane("device", limits=limits) as device:
        async with plane("edge") as edge:
            await connected(device, edge)
        await until(lambda: bool(device.handler.lost))
        assert not device.data.is_up("edge")
        async with plane("edge", listen=edge.address) as returned:
            await until(lambda: device.data.is_up("edge"))
            device.send("edge", "r", {"x": np.zeros(3)})
            await until(lambda: bool(returned.handler.tensors))
        assert device.handler.ups == ["edge", "edge"]
        assert device.handler.lost[0].peer == "edge"
        assert "closed the connection" in device.handler.lost[0].reason


async def test_a_link_that_lets_nothing_through_loses_the_peer_and_heals() -> None:
    limits = replace(QUIET, dead_after_s=0.4, ping_interval_s=0.1, retry_max_s=0.1, connect_timeout_s=0.5)
    async with plane("device", limits=limits) as device, plane("edge") as edge:
        await connected(device, edge)
        device.data.set_emulation(Emulation(links={"edge": EmulatedLink(up=False)}))
        device.send("edge", "r", {"a": np.zeros(4, np.float32)})
        await until(lambda: bool(device.handler.lost))
        assert "has not answered" in device.handler.lost[0].reason
        assert [(event.peer, event.key.request) for event in device.handler.undelivered] == [("edge", "r")]
        device.data.set_emulation(Emulation())
        await until(lambda: device.data.is_up("edge"))


@pytest.mark.parametrize("planned", [True, False])
async def test_an_idle_peer_that_falls_silent_is_lost_too_and_taken_in_again(planned: bool) -> None:
    limits = replace(QUIET, dead_after_s=0.4, idle_after_s=0.0, retry_max_s=0.1, connect_timeout_s=0.5)
    async with plane("device", limits=limits) as device, plane("edge") as edge:
        device.handler.planned = planned
        await connected(device, edge)
        device.data.set_emulation(Emulation(links={"edge": EmulatedLink(up=False)}))
        await until(lambda: bool(device.handler.lost))
        assert "has not answered" in device.handler.lost[0].reason
        device.data.set_emulation(Emulation())
        await until(lambda: device.data.is_up("edge"))


@pytest.mark.parametrize("planned", [True, False])
async def test_a_probe_that_a_slow_idle_link_carries_for_long_loses_no_peer(planned: bool) -> None:
    """Pongs overtake it, but pings have to be sent for that."""
    limits = Limits(dead_after_s=0.4, idle_after_s=0.0, idle_ping_interval_s=0.2, unplanned_ping_interval_s=5.0)
    slow = Emulation(links={"edge": EmulatedLink(bandwidth_bytes_per_s=20e3)})
    async with plane("device", limits=limits, emulation=slow) as device, plane("edge") as edge:
        device.handler.planned = planned
        await connected(device, edge)
        await until(lambda: bool(device.data.links()))  # the first probe takes 0.8 s
        assert device.handler.lost == []


async def test_what_is_sent_over_a_link_that_rested_finds_its_peer_blameless() -> None:
    limits = replace(QUIET, dead_after_s=0.3, idle_after_s=0.0, idle_ping_interval_s=1.0)
    async with plane("device", limits=limits) as device, plane("edge") as edge:
        await connected(device, edge)
        for index in range(4):
            await asyncio.sleep(0.45)  # longer than a peer that owes an answer may be silent
            device.send("edge", str(index), {"x": BIG})
        await until(lambda: len(device.handler.counted) == 4)
        assert device.handler.lost == []


async def test_what_was_sent_over_a_link_that_is_down_for_a_moment_arrives_when_it_is_up() -> None:
    """As TCP sends again what got lost: a cut shorter than what makes a peer lost must cost time alone."""
    async with plane("device", limits=replace(QUIET, dead_after_s=30.0)) as device, plane("edge") as edge:
        await connected(device, edge)
        device.data.set_emulation(Emulation(links={"edge": EmulatedLink(up=False)}))
        device.send("edge", "r1", {"x": BIG})
        device.send("edge", "r2", {"x": np.zeros(3)})
        await asyncio.sleep(0.1)
        assert edge.handler.tensors == []
        device.data.set_emulation(Emulation(links={"edge": EmulatedLink(bandwidth_bytes_per_s=1e9)}))
        await until(lambda: len(edge.handler.tensors) == 2)
        assert {event.key.request for event in edge.handler.tensors} == {"r1", "r2"}
        assert device.handler.lost == []


async def test_a_removed_peer_is_dropped_without_a_word() -> None:
    async with plane("device") as device, plane("edge") as edge, plane("cloud") as cloud:
        await connected(device, edge)
        device.data.set_peers({"cloud": cloud.address})
        assert not device.data.is_up("edge")
        assert device.data.links() == ()
        # A connection that is lost afterwards is told: so the removed one, which ended before, would have been.
        await until(lambda: device.data.is_up("cloud"))
        await cloud.data.close()
        await until(lambda: bool(device.handler.lost))
        assert [event.peer for event in device.handler.lost] == ["cloud"]


async def test_another_node_at_a_peers_address_is_not_taken_for_it() -> None:
    async with plane("device") as device, plane("cloud") as cloud:
        with capture_logs() as logs:
            device.data.set_peers({"edge": cloud.address})
            said = ("answers as node 'cloud', not as 'edge'", "node cloud answers where node edge was meant to")
            await until(lambda: any(sentence in str(log) for log in logs for sentence in said))
        assert device.handler.ups == []


async def test_a_handler_that_raises_harms_nobody() -> None:
    async with plane("device") as device, plane("edge") as edge:
        await connected(device, edge)
        edge.handler.broken = True
        with capture_logs() as logs:
            device.send("edge", "r1", {"x": np.zeros(3)})
            await until(lambda: bool(device.handler.counted))
        assert any(log["event"] == "handler-failed" for log in logs)
        edge.handler.broken = False
        device.send("edge", "r2", {"x": np.zeros(3)})
        await until(lambda: [event.key.request for event in edge.handler.tensors] == ["r2"])


async def test_a_peer_says_what_it_has_room_for_and_when_that_changes() -> None:
    async with plane("device") as device, plane("edge") as edge:
        edge.handler.room = 1000
        await connected(device, edge)
        await until(lambda: device.handler.rooms[-1] == 1000)
        edge.handler.room = None
        await until(lambda: device.handler.rooms[-1] is None)
        assert device.handler.rooms == [None, 1000, None]


async def test_pings_and_probes_are_answered() -> None:
    async with plane("edge") as edge:
        peer = await RawPeer.connect(edge.address)
        peer.greet()
        peer.say(Ping(sequence=4))
        peer.say(Probe(sequence=5, padding=100_000))
        hello, pong, ack = await peer.hear(3)
        assert isinstance(hello, Hello)
        assert isinstance(pong, Pong)
        assert isinstance(ack, Ack)
        assert (pong.sequence, ack.sequence, ack.received_bytes) == (4, 5, 100_000)
        assert pong.arrived_s is not None
        assert ack.arrived_s is not None
        assert 0.0 < pong.arrived_s <= ack.arrived_s
        peer.writer.close()


async def test_a_long_frame_that_still_arrives_is_reported_to_its_sender() -> None:
    async with plane("edge") as edge:
        peer = await RawPeer.connect(edge.address)
        peer.greet()
        data = b"".join(encode_frame(Probe(sequence=5, padding=100_000)))
        peer.writer.write(data[:50_000])
        headers = await peer.hear(2)
        assert headers[1] == Pong(sequence=0)
        peer.writer.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame-malformed"),
        (PREFIX.pack(b"ESP", PROTOCOL + 1, 10, 0), "protocol-mismatch"),
        (PREFIX.pack(b"ESP", PROTOCOL, 10, 1 << 40), "frame-too-large"),
        (PREFIX.pack(b"ESP", PROTOCOL, 1 << 30, 0), "frame-too-large"),
        (b"".join(encode_frame(Ping(sequence=1))), "frame-malformed"),
    ],
)
async def test_bad_bytes_end_their_connection_with_a_reason_and_nothing_else(data: bytes, code: str) -> None:
    async with plane("device") as device, plane("edge") as edge:
        await connected(device, edge)
        with capture_logs() as logs:
            peer = await RawPeer.connect(edge.address)
            peer.writer.write(data)
            headers = await peer.hear_until_closed()
            await until(lambda: any(log.get("code") == code for log in logs))
        assert isinstance(headers[-1], Failure)
        assert (headers[-1].code, headers[-1].id) == (code, None)
        device.send("edge", "r", {"x": np.zeros(3)})
        await until(lambda: bool(edge.handler.tensors))


async def test_a_truncated_frame_is_logged_as_such() -> None:
    async with plane("edge") as edge:
        with capture_logs() as logs:
            peer = await RawPeer.connect(edge.address)
            peer.greet()
            await peer.hear(1)
            peer.writer.write(b"".join(encode_frame(Probe(sequence=1, padding=1000)))[:500])
            peer.writer.close()
            await until(lambda: any(log.get("code") == "frame-truncated" for log in logs))


async def test_a_client_may_not_send_tensors() -> None:
    async with plane("edge") as edge:
        peer = await RawPeer.connect(edge.address)
        peer.greet(role="client")
        peer.say(Tensors(sequence=1, model="m", epoch=1, request="r", tensors=()))
        headers = await peer.hear_until_closed()
        assert isinstance(headers[-1], Failure)
        assert "what only agents send" in headers[-1].message
        assert edge.handler.tensors == []


async def test_a_peer_of_another_version_is_told_so_and_logged_once() -> None:
    async with plane("edge") as edge:
        with capture_logs() as logs:
            for _ in range(3):
                peer = await RawPeer.connect(edge.address)
                peer.greet(protocol=99, node="old")
                headers = await peer.hear_until_closed()
                assert isinstance(headers[-1], Failure)
                assert headers[-1].code == "protocol-mismatch"
                assert "agent old (edgesplit 9) speaks protocol 99" in headers[-1].message
        assert sum(log.get("code") == "protocol-mismatch" for log in logs) == 1


async def test_a_peer_that_answers_with_another_version_is_left_alone_for_a_while() -> None:
    greeted, hung_up = 0, 0

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hung_up
        hung_up += 1
        writer.close()

    async def old_agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted += 1
        hello = Hello(protocol=99, role="agent", node="old", version="9", instance="i")
        writer.write(b"".join(encode_frame(hello)))
        await reader.read()
        writer.close()

    server, rude = [
        await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(name))
        for name, serve in (("old", old_agent), ("rude", hang_up))
    ]
    port, rude_port = [made.sockets[0].getsockname()[1] for made in (server, rude)]
    async with plane("device", limits=replace(QUIET, retry_min_s=0.01, retry_max_s=0.01)) as device:
        with capture_logs() as logs:
            device.data.set_peers({"old": f"127.0.0.1:{port}"})
            await until(lambda: any("speaks protocol 99" in str(log) for log in logs))
            device.data.set_peers({"old": f"127.0.0.1:{port}", "rude": f"127.0.0.1:{rude_port}"})
            await until(lambda: hung_up >= 5)  # tried again and again meanwhile
        assert greeted == 1
        assert device.handler.ups == []
    server.close()
    rude.close()


@pytest.mark.parametrize("seed", range(3))
async def test_random_bytes_harm_nobody(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = replace(QUIET, frames=FrameLimits(header_bytes=1000, body_bytes=10_000))
    async with plane("edge", limits=limits) as edge:
        for _ in range(20):
            peer = await RawPeer.connect(edge.address)
            if rng.random() < 0.7:
                peer.greet()
            if rng.random() < 0.7:
                peer.writer.write(PREFIX.pack(b"ESP", PROTOCOL, int(rng.integers(0, 100)), int(rng.integers(0, 100))))
            peer.writer.write(rng.bytes(int(rng.integers(1, 400))))
            peer.end()
            await peer.hear_until_closed()
        peer = await RawPeer.connect(edge.address)
        peer.greet()
        assert isinstance((await peer.hear(1))[0], Hello)
        peer.writer.close()


async def test_what_no_frame_takes_is_the_senders_error_and_harms_no_connection() -> None:
    limits = replace(QUIET, frames=FrameLimits(body_bytes=1000))
    async with plane("device", limits=limits) as device, plane("edge", limits=limits) as edge:
        await connected(device, edge)
        with pytest.raises(FrameTooLarge, match="x for edge take 1008 B, and a frame takes 1000 B"):
            device.send("edge", "r1", {"x": np.zeros(126)})
        with pytest.raises(FrameTooLarge):
            device.send("edge", "r1", {"x": np.zeros(251, np.float32)}, "fp16")
        device.send("edge", "r2", {"x": np.zeros(125)})
        await until(lambda: bool(edge.handler.tensors))
        assert device.data.is_up("edge")
