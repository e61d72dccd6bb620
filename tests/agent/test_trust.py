"""Peers that were lost are relied on again only after they stayed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgesplit_agent.serving.machine.peers import FORGIVEN_FACTOR, LONGEST_FACTOR, PeerTrust


def test_a_peer_that_was_never_lost_is_trusted_at_once() -> None:
    trust = PeerTrust(2.0)
    assert trust.up("edge", 0.0) == 0.0
    assert trust.on_probation(["edge"], 0.0) == frozenset()


def test_a_peer_that_stayed_long_is_forgiven() -> None:
    trust = PeerTrust(2.0)
    for _ in range(3):
        trust.lost("edge", 0.0)
        trust.up("edge", 0.0)
    assert trust.losses("edge") == 3
    trust.lost("edge", 2.0 * FORGIVEN_FACTOR)
    assert trust.losses("edge") == 1


@given(st.lists(st.tuples(st.sampled_from(["lost", "up"]), st.floats(0.0, 50.0)), max_size=30))
def test_whoever_was_lost_is_on_probation_for_one_to_sixteen_times_the_first_one(
    steps: list[tuple[str, float]],
) -> None:
    trust, now_s = PeerTrust(2.0), 0.0
    for what, after_s in steps:
        now_s += after_s
        if what == "lost":
            trust.lost("edge", now_s)
            assert trust.on_probation(["edge"], now_s + 1e9) == {"edge"}
        elif trust.losses("edge"):
            probation_s = trust.up("edge", now_s)
            assert 2.0 <= probation_s <= 2.0 * LONGEST_FACTOR
            assert trust.on_probation(["edge"], now_s + probation_s * 0.99) == {"edge"}
            assert trust.on_probation(["edge"], now_s + probation_s) == frozenset()
