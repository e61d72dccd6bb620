"""The agent's Unix socket: the same protocol for programs on the same machine."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import numpy as np
import pytest

import edgesplit
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import InvalidConfiguration, NodeUnreachable
from edgesplit.wire.address import TcpAddress, UnixAddress, parse_address
from tests.dataplane.fakes import plane

IMAGE = np.arange(12, dtype=np.float32).reshape(1, 3, 4)


async def test_a_program_on_the_same_machine_infers_over_the_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/run/agent.sock"

    def use() -> None:
        with edgesplit.connect(address) as node:
            assert node.node == "device"
            big = np.random.default_rng(0).standard_normal((3, 700, 600))
            np.testing.assert_array_equal(node.infer("double", {"x": big})["x"], big * 2)

    async with plane("device", socket=address) as device:
        await asyncio.to_thread(use)
        async with AsyncClient(device.address) as client:
            await client.infer("double", {"x": IMAGE})
        assert (tmp_path / "run/agent.sock").stat().st_mode & 0o777 == 0o666
    assert not (tmp_path / "run/agent.sock").exists()
    with pytest.raises(NodeUnreachable, match=r"agent\.sock"):
        await AsyncClient(address).connect()


async def test_a_dead_agents_socket_is_taken_over_and_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with plane("device", socket=f"unix:{path}") as device:
        with pytest.raises(InvalidConfiguration, match="another agent listens there"):
            async with plane("other", socket=f"unix:{path}"):
                pass
        async with AsyncClient(f"unix:{path}") as client:
            assert client.node == "device"
        assert device.address
    path.write_text("a file of somebody's")
    with pytest.raises(InvalidConfiguration, match="is no socket"):
        async with plane("device", socket=f"unix:{path}"):
            pass
    assert path.read_text() == "a file of somebody's"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7400", TcpAddress("127.0.0.1", 7400)),
        ("[::1]:7400", TcpAddress("::1", 7400)),
        ("unix:/run/edgesplit/agent.sock", UnixAddress("/run/edgesplit/agent.sock")),
    ],
)
def test_addresses_are_read(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":7400", "host:65536", "host:٣", "unix:", "unix:agent.sock"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match="for instance"):
        parse_address(text)


def test_a_path_that_the_kernel_would_cut_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="107 B"):
        parse_address("unix:/" + "x" * 107)
