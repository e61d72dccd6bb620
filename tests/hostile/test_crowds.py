"""A thousand connections at once that never say what they want: serving and joining go on."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
from collections.abc import Iterator

import pytest

import edgesplit
from tests.hostile.attackers import ask_raw
from tests.hostile.served_fleet import MODEL, REQUEST, ServedFleet
from tests.hostile.test_http import request
from tests.waiting import blocking_until

CROWD = 1000
FROM = [f"127.0.1.{number}" for number in range(1, 11)]
"""So that no limit by address protects the other limits."""


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """As many as the crowd needs, where the machine allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CROWD + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def half_a_greeting() -> bytes:
    """The first half of a TLS ClientHello."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    side = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="x")
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()
    whole = outgoing.read()
    return whole[: len(whole) // 2]


def half_a_request(fleet: ServedFleet, address: str, source: str) -> socket.socket:
    """Over TLS, the first half of an HTTP request."""
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0))
    secured = fleet.context(None).wrap_socket(plain)
    secured.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
    return secured


@pytest.mark.parametrize("begins", ["silent", "half a greeting"])
def test_a_thousand_who_do_not_speak_keep_nobody_out(fleet: ServedFleet, begins: str) -> None:
    targets = [fleet.data["device"], fleet.http["device"], fleet.controller]
    first = half_a_greeting() if begins == "half a greeting" else b""
    before = {name: sum(fleet.counted(name).values()) for name in ("device", "controller")}
    with contextlib.ExitStack() as crowd:
        for number in range(CROWD):
            host, _, port = targets[number % 3].rpartition(":")
            connection = socket.create_connection(
                (host, int(port)), timeout=20, source_address=(FROM[number % len(FROM)], 0)
            )
            crowd.enter_context(connection)
            with contextlib.suppress(ConnectionError):
                connection.sendall(first)
        assert fleet.asker is not None
        fleet.asker.goes_on()
        with edgesplit.connect(fleet.data["device"], token=fleet.tokens["all"], ca_file=fleet.authority) as node:
            assert node.infer(MODEL, REQUEST)
        for address in (fleet.http["device"], fleet.controller):
            blocking_until(lambda address=address: answers(fleet, address), f"{address} answers")  # type: ignore[misc]  # bound now
        for name, count in before.items():
            blocking_until(
                lambda name=name, count=count: sum(fleet.counted(name).values()) > count,  # type: ignore[misc]  # bound now
                "those who give way are counted",
            )


def answers(fleet: ServedFleet, address: str) -> bool:
    """Whether somebody who comes now is answered; a crowd that has just come may stay for two seconds."""
    try:
        return ask_raw(address, fleet.context(None), request("GET", "/metrics"))[0] == 200
    except OSError:
        return False


def test_half_requests_by_the_hundred_keep_nobody_out(fleet: ServedFleet) -> None:
    with contextlib.ExitStack() as crowd:
        for address in (fleet.http["device"], fleet.controller):
            for number in range(150):
                with contextlib.suppress(OSError):
                    crowd.enter_context(half_a_request(fleet, address, FROM[number % len(FROM)]))
        assert fleet.asker is not None
        fleet.asker.goes_on()
        for address in (fleet.http["device"], fleet.controller):
            blocking_until(lambda address=address: answers(fleet, address), f"{address} answers")  # type: ignore[misc]  # bound now
