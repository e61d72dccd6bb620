"""TLS on a non-blocking socket: it shows what a plain one would, however little the kernel takes and gives at a time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from edgesplit.wire.secured.secure_socket import RECORD_BYTES, HandshakeStep, SecureSocket
from tests.dataplane.fleets import MadeFleet

Ends = tuple[SecureSocket, SecureSocket]


@pytest.fixture
def ends(fleet: MadeFleet) -> Iterator[Ends]:
    """Two ends of a connection that takes little at a time, after their handshake."""
    here, there = socket.socketpair()
    for each in (here, there):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = SecureSocket(here, fleet.contexts("node", "a").client, server_side=False)
    server = SecureSocket(there, fleet.contexts("node", "b").open_server, server_side=True)
    wanted = [HandshakeStep.READ, HandshakeStep.READ]
    while wanted != [HandshakeStep.NOTHING, HandshakeStep.NOTHING]:
        wanted = [each.shake_hands() for each in (client, server)]
    yield client, server
    client.close()
    server.close()


def test_both_ends_know_each_other_after_the_handshake(ends: Ends) -> None:
    client, server = ends
    assert str(getattr(client.peer_certificate, "subject", "")) == "node b"
    assert str(getattr(server.peer_certificate, "subject", "")) == "node a"


@pytest.mark.parametrize("seed", range(8))
def test_buffers_of_any_sizes_arrive_byte_for_byte_both_ways(ends: Ends, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.choice([1, 16, 5000, RECORD_BYTES, RECORD_BYTES + 1, 100_000, 700_000], 12)]
    data = rng.bytes(sum(sizes))
    for sender, receiver in (ends, ends[::-1]):
        assert transported(sender, receiver, data, sizes, rng) == data


def transported(
    sender: SecureSocket, receiver: SecureSocket, data: bytes, sizes: list[int], rng: np.random.Generator
) -> bytes:
    """What arrives, read into memory of random sizes; unsent buffers are offered again from where they were taken."""
    waiting, start = list[memoryview](), 0
    for size in sizes:
        waiting.append(memoryview(data)[start : start + size])
        start += size
    arrived = bytearray()
    while len(arrived) < len(data):
        if waiting:
            with suppress(BlockingIOError):
                taken = sender.sendmsg(iter(waiting))
                while taken:
                    step = min(taken, len(waiting[0]))
                    waiting[0] = waiting[0][step:]
                    taken -= step
                    if not waiting[0]:
                        waiting.pop(0)
        memory = memoryview(bytearray(int(rng.choice([1, 100, 20_000, 1 << 20]))))
        with suppress(BlockingIOError):
            count = receiver.recv_into(memory)
            arrived += memory[:count]
            if count < len(memory):
                assert not receiver.pending
    assert not waiting
    return bytes(arrived)


def test_what_was_decrypted_and_not_asked_for_is_pending(ends: Ends) -> None:
    client, server = ends
    client.sendmsg([memoryview(b"0123456789")])
    memory = memoryview(bytearray(4))
    assert server.recv_into(memory) == 4
    assert server.pending
    assert server.recv_into(memory) == 4
    assert server.recv_into(memory) == 2
    assert not server.pending
    with pytest.raises(BlockingIOError):
        server.recv_into(memory)


@pytest.mark.parametrize("farewell", [True, False])
def test_the_end_of_the_stream_is_one_with_and_without_tls_saying_so(ends: Ends, farewell: bool) -> None:
    client, server = ends
    client.sendmsg([memoryview(b"last")])
    if farewell:
        client.shutdown(socket.SHUT_WR)
    else:
        client.close()
    memory = memoryview(bytearray(100))
    assert server.recv_into(memory) == 4
    assert server.recv_into(memory) == 0
    assert server.recv_into(memory) == 0


def test_after_its_own_farewell_an_end_reads_only_to_throw_away(ends: Ends) -> None:
    client, server = ends
    client.shutdown(socket.SHUT_WR)
    server.sendmsg([memoryview(b"late")])
    assert client.recv_into(memoryview(bytearray(100))) > 0
    assert not client.pending


def test_bytes_that_somebody_changed_on_their_way_are_an_error(ends: Ends) -> None:
    client, server = ends
    client.bare.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError):
        server.recv_into(memoryview(bytearray(100)))


def test_whoever_goes_away_during_the_handshake_is_a_lost_connection(fleet: MadeFleet) -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    server = SecureSocket(here, fleet.contexts("node", "b").open_server, server_side=True)
    assert server.shake_hands() is HandshakeStep.READ
    there.close()
    with pytest.raises(ConnectionResetError, match="during the TLS handshake"):
        server.shake_hands()
    server.close()
