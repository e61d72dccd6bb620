"""Which address other machines are told, and what is said about one that they cannot reach."""

from __future__ import annotations

import re
import socket

import pytest

from edgesplit.daemon.advertised_address import (
    Offer,
    SystemNetwork,
    _attached_hosts,
    _global_addresses,
    advertised,
    unreachable_for,
    unresolved,
)
from tests.shared.networks import FakeNetwork

# Attached to 10.0.0.0/24 and, by the default route, to 192.168.1.0/24.
MACHINE = FakeNetwork({"10.0.0.9": "10.0.0.5", "default": "192.168.1.7"}, ("192.168.1.7", "10.0.0.5"))


def offer(bound: str, advertise: str = "", *, local_by_choice: bool = False) -> Offer:
    """Of an agent's data plane."""
    keys = ("[data] listen", "[data] advertise", "agents")
    return Offer(bound, advertise, *keys, local_by_choice=local_by_choice)


@pytest.mark.parametrize(
    ("bound", "broker", "address", "chosen"),
    [
        ("0.0.0.0:7400", "10.0.0.9", "10.0.0.5:7400", "by the route to the broker"),
        # The broker is this machine's: what the others reach it by decides.
        ("0.0.0.0:7400", "127.0.0.1", "192.168.1.7:7400", "by the default route"),
        ("0.0.0.0:7400", "localhost", "192.168.1.7:7400", "by the default route"),
        ("0.0.0.0:7400", "", "192.168.1.7:7400", "by the default route"),
        ("10.0.0.5:7400", "127.0.0.1", "10.0.0.5:7400", "as [data] listen says"),
    ],
)
def test_an_address_is_chosen_by_the_route_and_never_loopback_where_there_is_another(
    bound: str, broker: str, address: str, chosen: str
) -> None:
    found = advertised(offer(bound), broker, MACHINE)
    assert (found.address, found.chosen, found.problem) == (address, chosen, "")


def test_without_a_default_route_the_attached_network_is_taken() -> None:
    found = advertised(offer("0.0.0.0:7400"), "127.0.0.1", FakeNetwork(networks=("10.77.0.11",)))
    assert (found.address, found.problem) == ("10.77.0.11:7400", "")


def test_a_socket_of_one_family_is_not_advertised_under_an_address_of_the_other() -> None:
    machine = FakeNetwork({"2001:db8:7::1": "2001:db8:7::5"}, ("2001:db8:7::5", "10.0.0.5"))
    assert advertised(offer("0.0.0.0:7400"), "2001:db8:7::1", machine).address == "10.0.0.5:7400"
    assert advertised(offer("[::]:7400"), "2001:db8:7::1", machine).address == "[2001:db8:7::5]:7400"


def test_a_machine_without_a_network_says_so_beside_its_loopback() -> None:
    found = advertised(offer("0.0.0.0:7400"), "127.0.0.1", FakeNetwork())
    assert found.address == "127.0.0.1:7400"
    assert "no address but its loopback" in found.problem


@pytest.mark.parametrize(
    ("bound", "advertise", "said"),
    [
        ("127.0.0.1:7400", "", r'\[data\] listen is 127\.0\.0\.1:7400.*set it to "0\.0\.0\.0:7400"'),
        ("0.0.0.0:7400", "127.0.0.1:7400", r"\[data\] advertise is 127\.0\.0\.1:7400.*leave it empty"),
        ("0.0.0.0:7400", "localhost:7400", r"\[data\] advertise is localhost:7400.*leave it empty"),
        ("0.0.0.0:7400", "[::1]:7400", r"\[data\] advertise is \[::1\]:7400.*leave it empty"),
    ],
)
def test_loopback_beside_a_broker_elsewhere_is_a_problem(bound: str, advertise: str, said: str) -> None:
    found = advertised(offer(bound, advertise), "10.0.0.9", MACHINE)
    assert re.search(said, found.problem)
    # One machine plays all, its own broker included: nothing is wrong.
    assert advertised(offer(bound, advertise), "127.0.0.1", MACHINE).problem == ""
    assert advertised(offer(bound, advertise), "10.0.0.5", MACHINE).problem == ""


def test_an_endpoint_that_is_local_by_choice_is_left_alone() -> None:
    assert advertised(offer("127.0.0.1:7470", local_by_choice=True), "10.0.0.9", MACHINE).problem == ""
    problem = advertised(offer("0.0.0.0:7470", "127.0.0.1:7470", local_by_choice=True), "10.0.0.9", MACHINE).problem
    assert "[data] advertise is 127.0.0.1:7470" in problem


def test_loopback_is_a_problem_once_a_node_is_on_another_machine() -> None:
    local = offer("127.0.0.1:7400")
    own = advertised(local, "127.0.0.1", MACHINE)
    here = [("same", "127.0.0.1:7401"), ("also", "10.0.0.5:7402"), ("named", "somewhere:7400")]
    assert unreachable_for(own, local, here, MACHINE) == ""
    said = unreachable_for(own, local, [*here, ("edge", "10.0.0.77:7400")], MACHINE)
    assert said.startswith("node edge at 10.0.0.77 is on another machine and never reaches 127.0.0.1:7400")
    assert said.endswith('set [data] listen to "0.0.0.0:7400"')
    named = offer("0.0.0.0:7400", "127.0.0.1:7400")
    own = advertised(named, "127.0.0.1", MACHINE)
    assert "leave [data] advertise empty" in unreachable_for(own, named, [("edge", "10.0.0.77:7400")], MACHINE)
    open_ = offer("0.0.0.0:7400")
    reached = advertised(open_, "127.0.0.1", MACHINE)
    assert unreachable_for(reached, open_, [("edge", "10.0.0.77:7400")], MACHINE) == ""


def test_a_name_that_does_not_resolve_is_named_with_its_key() -> None:
    machine = FakeNetwork(names={"edge.example": ("10.0.0.5",)})
    assert unresolved("[data] advertise", "edge.example:7400", machine) == ""
    assert unresolved("[data] advertise", "10.0.0.5:7400", machine) == ""
    said = unresolved("[artifacts] advertise", "controller.example:7480", machine)
    assert said.startswith("[artifacts] advertise is controller.example:7480, and controller.example does not resolve")
    assert "/etc/hosts" in said


def test_the_kernel_knows_this_machine() -> None:
    network = SystemNetwork()
    assert network.own_towards("127.0.0.1") == "127.0.0.1"
    assert network.is_own("127.0.0.1")
    assert not network.is_own("192.0.2.1")
    assert all(network.is_own(address) for address in network.attached())
    assert network.resolve("localhost")
    assert network.resolve("no-such-name.invalid") == ()
    assert network.resolve("a" * 70) == ()  # longer than a label may be
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        assert network.own_towards("127.0.0.1") == probe.getsockname()[0]


def test_networks_are_read_from_proc_as_the_kernel_writes_them() -> None:
    # As on a little-endian machine: 10.77.0.0/24 on eth0, 172.17.0.0/16 on docker0, a default route.
    header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    lines = [
        header,
        "eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
        "eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
    ]
    assert _attached_hosts(lines) == ["10.77.0.1", "172.17.0.1"]
    addresses = [
        "00000000000000000000000000000001 01 80 10 80       lo",
        "fe80000000000000021122fffe334455 02 40 20 80     eth0",
        "20010db8000700000000000000000005 02 40 00 80     eth0",
    ]
    assert _global_addresses(addresses) == ["2001:db8:7::5"]
