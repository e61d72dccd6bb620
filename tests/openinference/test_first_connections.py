"""What answers requests by HTTP is loaded by the first connection; until then the sockets listen alone."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edgesplit.errors import InvalidConfiguration
from edgesplit.late_libraries import LateModule
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.http import endpoint as endpoint_module
from edgesplit_agent.http.endpoint import HttpEndpoint
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from tests.openinference.fakes import FakeModels

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
FLOOD = 100


def endpoint_at(listen: str) -> HttpEndpoint:
    section = HttpSection(listen=listen)
    metrics = PrometheusMetrics("device", "1.0")
    return HttpEndpoint(section, metrics, FakeModels(), blobs=Path("/nowhere"), ready=lambda: True, version="1.0")


async def live(host: str, port: int) -> bytes:
    """First line of the answer whether the server lives; empty where there is none."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(LIVE)
    answer = await reader.readline()
    writer.close()
    return answer.strip()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


async def test_a_crowd_of_first_connections_is_answered_by_one_application() -> None:
    endpoint = endpoint_at("127.0.0.1:0")
    port = port_of(await endpoint.start())
    assert endpoint.application is None
    answers = await asyncio.gather(*(live("127.0.0.1", port) for _ in range(FLOOD)))
    assert set(answers) == {b"HTTP/1.1 200 OK"}
    made = endpoint.application
    assert await live("127.0.0.1", port) == b"HTTP/1.1 200 OK"
    assert endpoint.application is made
    await endpoint.close()


async def test_a_request_that_came_before_anything_was_loaded_is_answered() -> None:
    endpoint = endpoint_at("127.0.0.1:0")
    port = port_of(await endpoint.start())
    with socket.create_connection(("127.0.0.1", port)) as early:  # the kernel's doing: the loop stands still here
        early.sendall(LIVE)
        early.setblocking(False)
        answer = await asyncio.get_running_loop().sock_recv(early, 15)
    assert answer == b"HTTP/1.1 200 OK"
    await endpoint.close()


async def test_every_address_of_a_name_answers() -> None:
    endpoint = endpoint_at("localhost:0")
    await endpoint.start()
    assert endpoint.addresses
    for address in endpoint.addresses:
        assert await live(address.host, address.port) == b"HTTP/1.1 200 OK"
    await endpoint.close()


async def test_an_address_that_is_taken_is_refused_at_the_start() -> None:
    endpoint = endpoint_at("127.0.0.1:0")
    address = await endpoint.start()
    with pytest.raises(InvalidConfiguration, match=r"cannot be bound: .*in use"):
        await endpoint_at(address).start()
    await endpoint.close()


async def test_an_endpoint_that_nobody_asked_gives_its_address_back() -> None:
    endpoint = endpoint_at("127.0.0.1:0")
    address = await endpoint.start()
    await endpoint.close()
    again = endpoint_at(address)
    assert await again.start() == address
    assert await live("127.0.0.1", port_of(address)) == b"HTTP/1.1 200 OK"
    await again.close()


async def test_closing_while_the_first_connection_loads_ends_it() -> None:
    endpoint = endpoint_at("127.0.0.1:0")
    port = port_of(await endpoint.start())
    with socket.create_connection(("127.0.0.1", port)) as early:
        await asyncio.sleep(0)  # the loop has seen it
        await endpoint.close()
        early.settimeout(5.0)
        with pytest.raises(ConnectionResetError):
            early.sendall(LIVE)
            if not early.recv(1):
                raise ConnectionResetError
    with pytest.raises(ConnectionRefusedError):
        await live("127.0.0.1", port)


async def test_libraries_that_cannot_be_loaded_are_told_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "application", LateModule("edgesplit_agent.http.nothing_there"))
    endpoint = endpoint_at("127.0.0.1:0")
    port = port_of(await endpoint.start())
    with capture_logs() as logs, pytest.raises(ConnectionResetError):
        if not await live("127.0.0.1", port):
            raise ConnectionResetError
    assert [line["event"] for line in logs] == ["http-not-served"]
    with pytest.raises(ConnectionRefusedError):
        await live("127.0.0.1", port)
    await endpoint.close()
