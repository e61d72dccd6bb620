"""Whoever can reach the port can connect: what strangers say and how often they come must cost nothing that stays."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import FrameTooLarge, InvalidInput, NodeUnreachable
from edgesplit.wire.connection import Connection
from edgesplit.wire.frames import FrameLimits, encode_frame, long_head, pack_tensors, part_prefix
from edgesplit.wire.headers import Hello, Infer
from edgesplit.wire.parser import FrameParser
from edgesplit_agent.dataplane.emulation import Emulation, Emulator
from tests.dataplane.fakes import QUIET, RawPeer, connected, plane
from tests.waiting import until


def connections() -> int:
    """Connections in memory, alive or not."""
    gc.collect()
    return sum(isinstance(thing, Connection) for thing in gc.get_objects())


async def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    before = connections()
    async with plane("device", limits=replace(QUIET, connect_timeout_s=3600.0)) as device:
        host, port = device.address.split(":")
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
        await until(lambda: connections() == before)


def test_long_frames_that_arrive_together_announce_a_bounded_sum() -> None:
    limits = FrameLimits(body_bytes=1000)
    heads, payloads = pack_tensors([("x", np.zeros(1000, np.uint8), "raw")])
    frame = encode_frame(Infer(id=1, model="m", tensors=heads), payloads)
    parser = FrameParser(limits)
    parser.feed(long_head(frame[0]) * 4)
    with pytest.raises(FrameTooLarge, match="5000 B are to arrive in parts together"):
        parser.feed(long_head(frame[0]))
    # One that is given up, or whole, makes room for another.
    parser = FrameParser(limits)
    parser.feed(long_head(frame[0]) * 4 + part_prefix(0, 0) + part_prefix(1, 1000) + bytes(1000))
    parser.feed(long_head(frame[0]) * 2)


def test_gates_of_strangers_names_are_not_kept() -> None:
    async def gates() -> int:
        emulator = Emulator(Emulation())
        strangers = [weakref.ref(emulator.gate(f"stranger-{number}")) for number in range(100)]
        gc.collect()
        return sum(stranger() is not None for stranger in strangers)

    assert asyncio.run(gates()) == 0


async def test_a_name_of_a_megabyte_is_refused() -> None:
    async with plane("device") as device:
        peer = await RawPeer.connect(device.address)
        peer.say(Hello(protocol=1, role="client", node="x" * 500_000, version="1", instance="i"))
        (failure,) = await peer.hear_until_closed()
        assert len(getattr(failure, "message", "")) < 200


async def test_a_deadline_that_is_no_time_is_refused_by_the_client_and_by_the_agent() -> None:
    async with plane("device") as device:
        async with AsyncClient(device.address) as client:
            for deadline_s in (-1.0, float("nan")):
                with pytest.raises(InvalidInput, match="deadline_s"):
                    await client.infer("double", {"x": np.zeros(1)}, deadline_s=deadline_s)
        peer = await RawPeer.connect(device.address)
        peer.greet("client")
        peer.say(Infer(id=1, model="double", tensors=(), deadline_s=float("nan")))
        failure = (await peer.hear_until_closed())[-1]
        assert "deadline_s" in getattr(failure, "message", "")


IMPATIENT = replace(QUIET, connect_timeout_s=0.3, frame_stall_s=0.3, ping_interval_s=0.02)


async def test_whoever_connects_and_says_nothing_or_half_a_greeting_is_closed_within_seconds() -> None:
    async with plane("device", limits=IMPATIENT) as device:
        for said in (b"", b"ESP\x01"):
            peer = await RawPeer.connect(device.address)
            peer.writer.write(said)
            (failure,) = await peer.hear_until_closed()
            assert "did not greet" in getattr(failure, "message", "")
        assert device.data.refused["silent-connections"] == 2


@pytest.mark.parametrize("role", ["client", "agent"])
async def test_a_frame_that_stands_still_or_trickles_ends_its_connection(role: Literal["client", "agent"]) -> None:
    heads, payloads = pack_tensors([("x", np.zeros(100_000, np.uint8), "raw")])
    frame = b"".join(encode_frame(Infer(id=1, model="double", tensors=heads), payloads))
    async with plane("device", limits=IMPATIENT) as device:
        still = await RawPeer.connect(device.address)
        still.greet(role)
        still.writer.write(frame[:1000])
        failure = (await still.hear_until_closed())[-1]
        assert "too slowly" in getattr(failure, "message", "")
        trickling = await RawPeer.connect(device.address)
        trickling.greet(role)
        heard = asyncio.create_task(trickling.hear_until_closed())
        for start in range(0, len(frame), 2):
            trickling.writer.write(frame[start : start + 2])
            await asyncio.sleep(0.01)  # the pace of who trickles
            if heard.done():
                break
        assert "too slowly" in getattr((await heard)[-1], "message", "")
        assert device.data.refused["slow-connections"] == 2
        # One that is merely slow gets through, and an idle one is left alone.
        async with AsyncClient(device.address) as client:
            await client.infer("double", {"x": np.zeros(1)})
            for _ in range(2):  # frames that stood still had their time meanwhile
                still = await RawPeer.connect(device.address)
                still.greet(role)
                still.writer.write(frame[:1000])
                await still.hear_until_closed()
            await client.infer("double", {"x": np.zeros(1)})


async def test_who_reads_nothing_of_its_answers_is_closed() -> None:
    async with plane("device", limits=replace(IMPATIENT, unread_s=0.3)) as device:
        peer = await RawPeer.connect(device.address)
        peer.greet("client")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        heads, payloads = pack_tensors([("x", np.zeros(8_000_000, np.uint8), "raw")])
        for number in range(4):
            peer.writer.write(b"".join(encode_frame(Infer(id=number, model="double", tensors=heads), payloads)))
        await until(lambda: device.data.refused["slow-connections"] == 1)
        peer.writer.close()


async def test_silent_strangers_give_way_to_those_who_come_and_known_peers_and_busy_clients_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgesplit_agent.dataplane import connection_limit

    monkeypatch.setattr(connection_limit, "GRACE_S", 0.0)
    limits = replace(QUIET, max_connections=4, connect_timeout_s=3600.0)
    async with plane("edge", limits=limits) as edge, plane("device") as device:
        edge.data.set_peers({"device": device.address})
        await connected(device, edge)
        async with AsyncClient(edge.address) as busy:
            edge.handler.open.clear()
            waiting = asyncio.create_task(busy.infer("double", {"x": np.ones(1)}))
            await until(lambda: edge.handler.inferring == 1)
            strangers = [await RawPeer.connect(edge.address) for _ in range(6)]
            await until(lambda: edge.data.refused["idle-connections"] == 4)
            assert all([await stranger.hear_until_closed() == [] for stranger in strangers[:4]])
            async with AsyncClient(edge.address) as other:
                assert other.node == "edge"
                edge.handler.open.set()
                np.testing.assert_array_equal((await waiting)["x"], [2.0])
            assert device.data.is_up("edge")
            assert not device.handler.lost


async def test_one_address_cannot_take_every_place() -> None:
    async with plane("device", limits=replace(QUIET, max_connections_per_address=3)) as device:
        held = [await AsyncClient(device.address).connect() for _ in range(3)]
        with pytest.raises(NodeUnreachable):
            await AsyncClient(device.address).connect()
        assert device.data.refused["connections"] == 1
        for connection in held:
            connection.close()
        await asyncio.gather(*(connection.wait_closed() for connection in held))


async def test_before_it_has_greeted_nobody_has_memory_taken_for_a_large_frame() -> None:
    heads, payloads = pack_tensors([("x", np.zeros(1 << 20, np.uint8), "raw")])
    frame = encode_frame(Infer(id=1, model="double", tensors=heads), payloads)
    async with plane("device") as device:
        stranger = await RawPeer.connect(device.address)
        stranger.writer.write(frame[0])
        (failure,) = await stranger.hear_until_closed()
        assert getattr(failure, "code", "") == FrameTooLarge.code
        # With its greeting in front, even in one go, it is taken.
        client = await RawPeer.connect(device.address)
        client.greet("client")
        client.writer.write(b"".join(frame))
        assert len(await client.hear(2)) == 2
        client.writer.close()


async def test_lines_about_strangers_are_limited_in_rate(capsys: pytest.CaptureFixture[str]) -> None:
    async with plane("device") as device:
        for _ in range(60):
            peer = await RawPeer.connect(device.address)
            peer.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await peer.hear_until_closed()
    assert capsys.readouterr().out.count("connection refused") <= 20


async def test_unfinished_frames_of_all_strangers_together_are_bounded_in_bytes() -> None:
    limits = replace(IMPATIENT, frame_stall_s=3600.0, arriving_bytes=1_000_000)
    heads, payloads = pack_tensors([("x", np.zeros(500_000, np.uint8), "raw")])
    frame = b"".join(encode_frame(Infer(id=1, model="double", tensors=heads), payloads))
    async with plane("device", limits=limits) as device:
        strangers = [await RawPeer.connect(device.address) for _ in range(3)]
        for number, stranger in enumerate(strangers):
            stranger.greet("client")
            stranger.writer.write(frame[: 450_000 + 10_000 * number])
        failure = (await strangers[2].hear_until_closed())[-1]
        assert getattr(failure, "code", "") == "overloaded"
        assert device.data.refused["arriving-bytes"] == 1
        for stranger in strangers[:2]:
            stranger.writer.close()


async def test_an_agent_that_says_nothing_is_closed_and_one_that_pings_is_not() -> None:
    async with plane("edge", limits=replace(IMPATIENT, silent_agent_s=1.0)) as edge, plane("device") as device:
        await connected(device, edge)
        stranger = await RawPeer.connect(edge.address)
        stranger.greet("agent", node="cloud")
        assert "says nothing" in getattr((await stranger.hear_until_closed())[-1], "message", "")
        assert device.data.is_up("edge")
        assert not device.handler.lost
