"""Whoever can reach the port can connect: what strangers say and how often they come must cost nothing that stays."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import numpy as np
import pytest

from edgesplit.client import AsyncClient
from edgesplit.errors import FrameTooLarge, InvalidInput
from edgesplit.frame_parser import FrameParser
from edgesplit.frames import FrameLimits, encode_frame, long_head, pack_tensors, part_prefix
from edgesplit.headers import Hello, Infer
from edgesplit.streams import Connection
from edgesplit_agent.dataplane.emulation import Emulation, Emulator
from tests.dataplane.fakes import QUIET, RawPeer, eventually, plane


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
        await eventually(lambda: connections() == before)


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
        kept = emulator.gate("edge")
        for number in range(100):
            emulator.gate(f"stranger-{number}")
        assert emulator.gate("edge") is kept
        gc.collect()
        return len(emulator._gates)

    assert asyncio.run(gates()) == 1


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
