"""Attackers at a live agent's data plane: peers that lie, plain text from elsewhere, tokens that are none."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

import edgesplit
from edgesplit.errors import EdgesplitError, NotTrusted, Overloaded
from edgesplit.release import PROTOCOL
from edgesplit.trust.subjects import Role
from edgesplit.wire.headers import Failure, Hello
from tests.hostile.attackers import own_address, said_in_frames
from tests.hostile.served_fleet import BRIEF, MODEL, REQUEST, ServedFleet
from tests.waiting import blocking_until

_FIRST_RATE = 1
"""What a token of 0.1 requests a second may ask at once."""


def hello(role: Literal["agent", "client"], node: str, token: str = "") -> Hello:
    """A greeting of whoever it says."""
    return Hello(protocol=PROTOCOL, role=role, node=node, version="9", instance="i", token=token)


def refused(answers: list[Any]) -> str:
    """The sentence with which a connection ends."""
    assert answers
    failure = answers[-1]
    assert isinstance(failure, Failure)
    assert failure.code == NotTrusted.code
    return failure.message


@pytest.mark.parametrize(
    ("role", "name", "greeting", "says"),
    [
        ("node", "spare", "edge", "that of node spare, which cannot speak as node edge"),
        ("operator", "ann", "edge", "that of operator ann, which cannot speak as node edge"),
        ("client", "till", "edge", "that of client till, which cannot speak as node edge"),
        ("controller", "shop", "edge", "that of controller shop, which cannot speak as node edge"),
        ("broker", "shop", "", "that of broker shop, which sends no requests"),
    ],
)
def test_a_peer_speaks_only_for_the_name_in_its_certificate(
    fleet: ServedFleet, role: Role, name: str, greeting: str, says: str
) -> None:
    context = fleet.context(fleet.made.files(role, name))
    before, lines = fleet.counted("device").get("not-trusted", 0), fleet.log("device").count(says)
    own = own_address()
    host = own or "127.0.0.1"
    address = f"{host}:{fleet.data['device'].rpartition(':')[2]}"
    if role == "broker" and not own:
        pytest.skip("this machine has no address but loopback, from where programs may ask without proof")
    for _ in range(2):
        assert says in refused(said_in_frames(address, context, [hello("agent" if greeting else "client", greeting)]))
    blocking_until(lambda: fleet.counted("device").get("not-trusted", 0) == before + 2, "both are counted")
    assert fleet.log("device").count(says) == lines + 1


def test_plain_text_from_another_machine_is_refused(fleet: ServedFleet) -> None:
    own = own_address()
    if not own:
        pytest.skip("this machine has no address but loopback")
    before = fleet.counted("device").get("plain-connections", 0)
    address = f"{own}:{fleet.data['device'].rpartition(':')[2]}"
    assert "over TLS alone" in refused(said_in_frames(address, None, [hello("client", "")]))
    blocking_until(lambda: fleet.counted("device").get("plain-connections", 0) == before + 1, "it is counted")


def test_a_program_of_this_machine_is_a_client_and_no_agent(fleet: ServedFleet) -> None:
    with edgesplit.connect(fleet.data["device"]) as node:
        assert node.infer(MODEL, REQUEST)
    assert "show a node's certificate" in refused(said_in_frames(fleet.data["device"], None, [hello("agent", "edge")]))


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("est_wrong", "is not known here"),
        ("withdrawn", "is not known here"),
        ("other-model", "is not for model 'tiny'"),
    ],
)
def test_a_token_that_does_not_allow_it_is_refused(fleet: ServedFleet, token: str, says: str) -> None:
    with (
        pytest.raises(NotTrusted, match=says),
        edgesplit.connect(fleet.data["device"], token=fleet.tokens.get(token, token), ca_file=fleet.authority) as node,
    ):
        node.infer(MODEL, REQUEST)


def test_a_token_that_is_used_up_is_told_to_wait(fleet: ServedFleet) -> None:
    answered, told = 0, ""
    with edgesplit.connect(fleet.data["edge"], token=fleet.tokens["slow"], ca_file=fleet.authority) as node:
        for _ in range(_FIRST_RATE + 1):
            try:
                node.infer(MODEL, REQUEST)
                answered += 1
            except Overloaded as error:
                told = str(error)
    assert (answered, "rate of 0.1 requests a second is used up" in told) == (_FIRST_RATE, True)


def test_a_token_that_has_expired_says_clock(fleet: ServedFleet) -> None:
    # Made here: what has expired leaves the list, so one from the beginning may be unknown by now.
    token = fleet.secured.run("token", "add", BRIEF, "--expires", "2s")["token"]

    def tried() -> str:
        try:
            with edgesplit.connect(fleet.data["device"], token=token, ca_file=fleet.authority):
                return ""
        except NotTrusted as error:
            # The node may not have heard of it yet.
            return "" if "not known here" in str(error) else str(error)

    said = blocking_until(tried, "its two seconds are over")
    assert "has expired" in said and "clock" in said


def test_an_answer_is_right_meanwhile(fleet: ServedFleet) -> None:
    """Over TLS from node to node, the same twice."""
    outputs = []
    for _ in range(2):
        try:
            with edgesplit.connect(fleet.data["device"], token=fleet.tokens["all"], ca_file=fleet.authority) as node:
                outputs.append(node.infer(MODEL, REQUEST)["scores"])
        except EdgesplitError as error:
            pytest.fail(str(error))
    np.testing.assert_array_equal(outputs[0], outputs[1])
