from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

import edgesplit
from demo.ports import free_port
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import (
    InvalidConfiguration,
    InvalidTensor,
    NodeUnreachable,
    Overloaded,
    ProtocolMismatch,
    RequestFailed,
    RequestTimedOut,
)
from edgesplit.wire.frames import Frame, FrameLimits, encode_frame
from edgesplit.wire.headers import Cancel, Hello, Infer
from edgesplit.wire.parser import FrameParser
from edgesplit_agent.dataplane.emulation import EmulatedLink, Emulation
from tests.dataplane.fakes import QUIET, plane
from tests.waiting import blocking_until, until

pytestmark = pytest.mark.usefixtures("both_ways")
IMAGE = np.arange(12, dtype=np.float32).reshape(1, 3, 4)


async def test_the_plain_client_infers_submits_and_details() -> None:
    def use(address: str) -> None:
        with edgesplit.connect(address) as node:
            assert node.node == "device"
            np.testing.assert_array_equal(node.infer("double", {"images": IMAGE})["images"], IMAGE * 2)
            futures = [node.submit("double", {"n": np.array(index)}, deadline_s=30) for index in range(50)]
            assert [int(future.result()["n"]) for future in futures] == [2 * index for index in range(50)]
            result = node.infer_detailed("double", {"images": IMAGE})
            assert result.epoch == 7
            assert result.latency_s > 0
        with pytest.raises(NodeUnreachable, match="was closed"):
            node.infer("double", {"images": IMAGE})
        node.close()

    async with plane("device") as device:
        await asyncio.to_thread(use, device.address)


async def test_large_arrays_and_views_go_through_unchanged() -> None:
    big = np.random.default_rng(1).standard_normal((3, 1000, 700), dtype=np.float32)
    async with plane("device") as device, AsyncClient(device.address) as client:
        outputs = await client.infer("double", {"big": big, "turned": big.T, "empty": np.zeros((0, 4))})
        np.testing.assert_array_equal(outputs["big"], big * 2)
        np.testing.assert_array_equal(outputs["turned"], big.T * 2)
        assert outputs["empty"].shape == (0, 4)


async def test_an_agents_error_comes_back_as_the_same_class_and_the_connection_lives_on() -> None:
    async with plane("device") as device, AsyncClient(device.address) as client:
        with pytest.raises(InvalidTensor, match="input 'x' of model other has the wrong shape"):
            await client.infer("other", {"x": IMAGE})
        with pytest.raises(RequestFailed, match="see its log") as caught:
            await client.infer("bug", {"x": IMAGE})
        assert "secret" not in str(caught.value)
        with pytest.raises(InvalidTensor, match="cannot be sent"):
            await client.infer("double", {"x": np.array([1j])})
        await client.infer("double", {"x": IMAGE})


async def test_a_deadline_ends_the_wait_and_a_late_result_is_ignored() -> None:
    async with plane("device") as device, AsyncClient(device.address) as client:
        device.handler.open.clear()
        with pytest.raises(RequestTimedOut, match=r"within 0\.05 s"):
            await client.infer("double", {"x": IMAGE}, deadline_s=0.05)
        device.handler.open.set()
        assert (await client.infer("double", {"x": IMAGE * 3}))["x"][0, 0, 1] == 6


async def test_nobody_listening_is_said_with_the_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(NodeUnreachable, match=f"no agent accepts connections at {address}"):
        await asyncio.to_thread(edgesplit.connect, address)
    with pytest.raises(InvalidConfiguration, match="must look like host:port"):
        await asyncio.to_thread(edgesplit.connect, "nonsense")


async def test_something_that_is_no_agent_is_said_to_be_none() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(NodeUnreachable, match="does not greet"):
        await AsyncClient(f"127.0.0.1:{port}", timeout_s=0.2).connect()
    server.close()


async def test_a_client_of_another_version_is_refused_with_both_versions() -> None:
    old = Hello(protocol=0, role="client", node="", version="0.0", instance="i")
    async with plane("device") as device:
        with pytest.raises(ProtocolMismatch, match=r"client \(edgesplit 0.0\) speaks protocol 0 and this side speaks"):
            await AsyncClient(device.address, identity=old).connect()


async def test_requests_in_flight_fail_when_the_node_is_lost_and_later_ones_reconnect() -> None:
    async with plane("device") as device:
        client = AsyncClient(device.address)
        device.handler.open.clear()
        tasks = [asyncio.create_task(client.infer("double", {"x": IMAGE})) for _ in range(3)]
        await until(lambda: device.handler.inferring == 3)
        await device.data.close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, NodeUnreachable)
            assert "in flight" in str(outcome)
        with pytest.raises(NodeUnreachable, match="no agent accepts"):
            await client.infer("double", {"x": IMAGE})
        async with plane("device", listen=device.address):
            assert (await client.infer("double", {"x": IMAGE}))["x"].shape == IMAGE.shape
            await client.close()


async def test_a_clients_departure_cancels_its_requests() -> None:
    async with plane("device") as device:
        client = AsyncClient(device.address)
        device.handler.open.clear()
        task = asyncio.create_task(client.infer("double", {"x": IMAGE}))
        await until(lambda: device.handler.inferring == 1)
        await client.close()
        with pytest.raises(NodeUnreachable):
            await task
        await until(lambda: device.handler.cancelled == 1)


async def test_too_many_requests_of_one_client_are_refused_as_overload() -> None:
    limits = replace(QUIET, infers_per_connection=2)
    async with plane("device", limits=limits) as device, AsyncClient(device.address) as client:
        device.handler.open.clear()
        tasks = [asyncio.create_task(client.infer("double", {"x": IMAGE})) for _ in range(2)]
        await until(lambda: device.handler.inferring == 2)
        with pytest.raises(Overloaded):
            await client.infer("double", {"x": IMAGE})
        device.handler.open.set()
        await asyncio.gather(*tasks)


async def test_results_larger_than_the_queue_reach_a_client_one_after_another() -> None:
    big = np.ones(500_000, dtype=np.float32)
    limits = replace(QUIET, queue_bytes=1_000_000)
    async with plane("device", limits=limits) as device, AsyncClient(device.address) as client:
        results = await asyncio.gather(*(client.infer("double", {"x": big}) for _ in range(6)))
        assert all(result["x"].sum() == 1_000_000 for result in results)


async def test_a_node_forwards_as_a_client_over_the_emulated_link() -> None:
    link = EmulatedLink(latency_s=0.02)
    async with plane("edge", emulation=Emulation(links={"device": link})) as edge, plane("device") as device:
        outputs, epoch = await edge.data.forward_infer(device.address, "double", {"x": IMAGE}, None)
        assert epoch == 7
        np.testing.assert_array_equal(outputs["x"], IMAGE * 2)
        with pytest.raises(InvalidTensor):
            await edge.data.forward_infer(device.address, "other", {"x": IMAGE}, 30.0)
        with pytest.raises(NodeUnreachable):
            await edge.data.forward_infer(f"127.0.0.1:{free_port()}", "double", {"x": IMAGE}, None)


def test_numpy_is_imported_with_the_first_tensor() -> None:
    code = (
        "import edgesplit, sys; edgesplit.connect; assert 'numpy' not in sys.modules\n"
        "from edgesplit.wire.tensors import zeros_of; zeros_of('float32', (1,)); assert 'numpy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_not_found() -> None:
    with pytest.raises(AttributeError, match="dance"):
        _ = edgesplit.dance


async def test_a_cancelled_call_ends_the_request_at_the_agent_and_the_connection_lives_on() -> None:
    async with plane("device") as device, AsyncClient(device.address) as client:
        device.handler.open.clear()
        task = asyncio.create_task(client.infer("double", {"x": IMAGE}))
        await until(lambda: device.handler.inferring == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: device.handler.cancelled == 1)
        device.handler.open.set()
        await client.infer("double", {"x": IMAGE})


async def test_a_submitted_request_is_cancelled_through_its_future() -> None:
    def submit_and_cancel(client: edgesplit.Client) -> None:
        future = client.submit("double", {"x": IMAGE})
        blocking_until(lambda: device.handler.inferring, "the request")
        assert future.cancel()

    async with plane("device") as device:
        device.handler.open.clear()
        client = await asyncio.to_thread(edgesplit.connect, device.address)
        await asyncio.to_thread(submit_and_cancel, client)
        await until(lambda: device.handler.cancelled == 1)
        await asyncio.to_thread(client.close)


async def test_a_deadline_ends_the_request_at_the_agent_too() -> None:
    async with plane("device") as device, AsyncClient(device.address) as client:
        device.handler.open.clear()
        with pytest.raises(RequestTimedOut):
            await client.infer("double", {"x": IMAGE}, deadline_s=0.05)
        await until(lambda: device.handler.cancelled == 1)


async def test_threads_share_one_client() -> None:
    def ask(client: edgesplit.Client, number: int) -> int:
        return int(client.infer("double", {"n": np.array(number)})["n"])

    async with plane("device") as device:
        client = await asyncio.to_thread(edgesplit.connect, device.address)
        answers = await asyncio.gather(*(asyncio.to_thread(ask, client, number) for number in range(40)))
        assert answers == [2 * number for number in range(40)]
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def hanging_agent() -> AsyncIterator[str]:
    """One that greets and says nothing more; its address."""
    greeting = b"".join(encode_frame(Hello(protocol=1, role="agent", node="device", version="1", instance="i")))
    accepted: list[asyncio.StreamWriter] = []

    async def greet_and_hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        writer.write(greeting)

    server = await asyncio.start_server(greet_and_hang, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in accepted:
        writer.close()
    server.close()


async def give_up(address: str) -> None:
    """Wait until an agent that hangs is taken for dead."""
    async with AsyncClient(address, dead_after_s=0.2) as client:
        with pytest.raises(NodeUnreachable, match=r"no sign of life for 0\.2 s"):
            await client.infer("double", {"x": IMAGE})


async def test_an_agent_that_hangs_is_noticed_while_a_request_waits() -> None:
    async with hanging_agent() as address:
        await give_up(address)


async def test_an_agent_that_computes_for_long_is_not_taken_for_a_dead_one() -> None:
    async with (
        plane("device") as device,
        AsyncClient(device.address, dead_after_s=0.1) as client,
        hanging_agent() as hanging,
    ):
        device.handler.open.clear()
        task = asyncio.create_task(client.infer("double", {"x": IMAGE}))
        for _ in range(2):  # one that hangs is given up meanwhile, after twice the time
            await give_up(hanging)
        device.handler.open.set()
        assert (await task)["x"].shape == IMAGE.shape


async def test_a_cancelled_request_that_has_not_left_never_arrives() -> None:
    frames: list[Frame] = []
    reading = asyncio.Event()

    async def greet_and_read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = FrameParser(FrameLimits())
        writer.writelines(encode_frame(Hello(protocol=1, role="agent", node="device", version="1", instance="i")))
        await reading.wait()
        while data := await reader.read(1 << 20):
            frames.extend(parser.feed(data))
        writer.close()

    server = await asyncio.start_server(greet_and_read_late, "127.0.0.1", 0)
    client = AsyncClient(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    large = asyncio.create_task(client.infer("double", {"x": np.zeros(16_000_000, dtype=np.float32)}))
    await until(lambda: client.unsent)
    large.cancel()
    small = asyncio.create_task(client.infer("double", {"x": IMAGE}))
    reading.set()
    await until(lambda: any(isinstance(frame.header, Infer) for frame in frames))
    headers = [frame.header for frame in frames]
    assert [header.tensors[0].shape for header in headers if isinstance(header, Infer)] == [IMAGE.shape]
    assert not any(isinstance(header, Cancel) for header in headers)
    await client.close()
    with pytest.raises(NodeUnreachable):
        await small
    server.close()
