"""Sockets are the data plane's own: no release of asyncio comes between, whenever its transports register a reader."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import selectors
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import edgesplit
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import InvalidConfiguration, NodeUnreachable
from edgesplit.wire.listener import Listener
from edgesplit_agent.compute.lending_loop import LendingLoop
from tests.dataplane.fakes import connected, plane
from tests.waiting import until

IMAGE = np.arange(12, dtype=np.float32)


class NoTransports(asyncio.SelectorEventLoop):
    """A loop that makes no transport, neither connecting nor accepting."""

    def _no(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a transport was asked for")

    create_connection = create_server = create_unix_connection = create_unix_server = connect_accepted_socket = _no


def run(make: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    """Run on a loop of one's own."""
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main)


async def everything(socket_path: str) -> None:
    """Tensors between two agents, requests by TCP and by a socket file, from asyncio and from plain programs."""
    async with plane("device", socket=socket_path) as device, plane("edge") as edge:
        await connected(device, edge)
        device.send("edge", "r", {"x": IMAGE})
        await until(lambda: bool(edge.handler.tensors))
        for address in (device.address, socket_path):
            async with AsyncClient(address) as client:
                np.testing.assert_array_equal((await client.infer("double", {"x": IMAGE}))["x"], IMAGE * 2)

            def blocking(address: str = address) -> None:
                with edgesplit.connect(address) as node:
                    np.testing.assert_array_equal(node.infer("double", {"x": IMAGE})["x"], IMAGE * 2)
                    assert node.submit("double", {"x": IMAGE}).result(30)["x"].shape == IMAGE.shape

            await asyncio.to_thread(blocking)


@pytest.mark.parametrize(
    "make",
    [
        NoTransports,
        LendingLoop,
        lambda: asyncio.SelectorEventLoop(selectors.SelectSelector()),
        lambda: asyncio.SelectorEventLoop(selectors.PollSelector()),
    ],
    ids=["no-transports", "lending", "select", "poll"],
)
def test_tensors_and_requests_arrive_whatever_the_loop_does_with_transports(
    make: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    run(make, everything(f"unix:{tmp_path}/agent.sock"))


async def test_a_name_is_listened_on_at_all_its_addresses_on_one_port() -> None:
    async with plane("device", listen="localhost:0") as device:
        port = device.address.rpartition(":")[2]
        for _, _, _, _, address in set(socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)):
            host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
            async with AsyncClient(f"{host}:{port}") as client:
                assert client.node == "device"
        async with AsyncClient(f"localhost:{port}") as client:
            assert client.node == "device"
        with pytest.raises(InvalidConfiguration, match="cannot listen"):
            async with plane("other", listen=f"127.0.0.1:{port}"):
                pass


async def test_a_port_nobody_listens_on_and_a_name_that_is_none_are_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NodeUnreachable, match="Connection refused"):
        await AsyncClient(address).connect()
    with pytest.raises(NodeUnreachable, match=r"no agent accepts connections at no-such-host\.invalid:1"):
        await AsyncClient("no-such-host.invalid:1").connect()


async def test_a_process_without_free_descriptors_accepts_again_once_it_has_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgesplit.wire import listener as accepting

    monkeypatch.setattr(accepting, "RETRY_S", 0.01)
    told: list[int | None] = []

    class Policy:
        def admits(self, host: str) -> bool:
            return host == "127.0.0.1"

        def exhausted(self, error: OSError) -> None:
            told.append(error.errno)

    accepted: list[socket.socket] = []
    waiting = socket.create_server(("127.0.0.1", 0))
    listener = Listener([waiting], accepted.append, Policy())
    caller = socket.socket()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 4, hard)
        )
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        caller.connect(waiting.getsockname())
        await until(lambda: len(told) > 1)
        assert not accepted
        assert set(told) == {errno.EMFILE}
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: len(accepted) == 1)
    assert not accepted[0].getblocking()
    listener.close()
    accepted[0].close()
    caller.close()


async def test_who_is_not_admitted_is_closed_at_once() -> None:
    class Shut:
        def admits(self, host: str) -> bool:
            return False

        def exhausted(self, error: OSError) -> None:
            raise AssertionError(error)

    accepted: list[socket.socket] = []
    waiting = socket.create_server(("127.0.0.1", 0))
    listener = Listener([waiting], accepted.append, Shut())
    reader, writer = await asyncio.open_connection(*waiting.getsockname())
    assert await reader.read() == b""
    assert not accepted
    writer.close()
    listener.close()
