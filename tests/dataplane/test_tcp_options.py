"""What TCP sockets are asked and told."""

from __future__ import annotations

import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from edgesplit.wire import tcp_options
from edgesplit.wire.tcp_options import acknowledged, models_path, pace, start_afresh, window_shut

ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
needs_bbr = pytest.mark.skipif(
    not ALLOWED.exists() or "bbr" not in ALLOWED.read_text().split(), reason="this kernel lets nobody choose BBR"
)


@pytest.fixture
def connected() -> Generator[socket.socket]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as own,
        server.accept()[0] as other,
    ):
        own.sendall(b"x" * 1000)
        assert other.recv(2000)
        yield own


def chosen(own: socket.socket) -> bytes:
    return own.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).split(b"\0")[0]


@needs_bbr
def test_a_connection_that_models_its_path_starts_afresh(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    assert models_path(connected)
    assert start_afresh(connected)
    assert chosen(connected) == b"bbr"


@needs_bbr
def test_what_leaves_faster_than_afresh_keeps_its_pace(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the round trip has become longer, by which the first pace goes."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    monkeypatch.setattr(tcp_options, "_WITHOUT_MEMORY", b"none of that name")  # choosing it fails
    for gain, afresh in ((1e-9, True), (1e9, False)):
        monkeypatch.setattr(tcp_options, "_STARTING_GAIN", gain)
        assert start_afresh(connected) == afresh
        assert chosen(connected) == b"bbr"


@needs_bbr
def test_a_connection_that_models_its_path_says_its_pace_and_that_its_window_is_open(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    assert (pace(connected) or 0.0) > 1e6
    assert not window_shut(connected)


@needs_bbr
def test_a_window_is_shut_where_no_more_may_be_on_the_way_than_fits(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    monkeypatch.setattr(tcp_options, "_SHUT_GAIN", 1 << 20)
    assert window_shut(connected)


@needs_bbr
def test_a_connection_with_next_to_no_window_keeps_what_it_knows(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    monkeypatch.setattr(tcp_options, "_LEAST_WINDOW", 1 << 30)
    assert not start_afresh(connected)


def test_others_have_nothing_to_forget(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    assert not models_path(connected)
    assert pace(connected) is None
    assert not window_shut(connected)
    assert not start_afresh(connected)
    assert chosen(connected) == b"reno"


def test_what_is_no_tcp_connection_is_none_of_them() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert not models_path(one)
        assert pace(one) is None
        assert not window_shut(one)
        assert not start_afresh(one)
        assert acknowledged(one, 1.0) is None
    assert not models_path(one)


def test_another_machine_that_took_everything_answers(connected: socket.socket) -> None:
    assert acknowledged(connected, 5.0)
