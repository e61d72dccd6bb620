"""A topic that only one program writes: its echoes are known, what strangers write is put right, ever later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgesplit.mqtt.topic_ownership import AT_ONCE, LONGEST_PAUSE_S, Ownership

TOPIC = "edgesplit/1/models/m"


def owner(*, remove_unknown: bool = False) -> Ownership:
    return Ownership({"edgesplit/1/models/+": remove_unknown})


def test_an_echo_is_nobodys_forgery_and_what_came_before_it_is_put_right_by_it() -> None:
    owned = owner()
    owned.publishes(TOPIC, b"old")
    owned.publishes(TOPIC, b"new")
    assert not owned.is_foreign(TOPIC, b"forged", b"new")
    assert not owned.is_foreign(TOPIC, b"old", b"new")
    assert not owned.is_foreign(TOPIC, b"new", b"new")
    assert owned.is_foreign(TOPIC, b"old", b"new")
    assert owned.is_foreign(TOPIC, b"", b"new")
    assert not owned.is_foreign(TOPIC, b"new", b"new")


def test_what_nobody_remembers_is_removed_only_where_that_was_asked_for() -> None:
    assert owner(remove_unknown=True).is_foreign(TOPIC, b"forged", None)
    assert not owner(remove_unknown=True).is_foreign(TOPIC, b"", None)
    assert not owner().is_foreign(TOPIC, b"earlier", None)
    assert not owner().owns("edgesplit/1/nodes/a/status")


@given(st.lists(st.sampled_from(["own", "stranger", "broker"]), max_size=60))
def test_a_topic_ends_as_its_owner_wants_it_in_whatever_order_messages_cross(order: list[str]) -> None:
    owned, broker, numbers = owner(), list[bytes](), iter(range(1000))
    wanted = last = b""

    def publish() -> None:
        owned.publishes(TOPIC, wanted)
        broker.append(wanted)

    def deliver(payload: bytes) -> None:
        nonlocal last
        last = payload
        if owned.is_foreign(TOPIC, payload, wanted):
            publish()

    for who in order:
        if who == "own":
            wanted = b"own %d" % next(numbers)
            publish()
        elif who == "stranger":
            broker.append(b"stranger %d" % next(numbers))
        elif broker:
            deliver(broker.pop(0))
    for _ in range(1000):
        if not broker:
            break
        deliver(broker.pop(0))
    assert not broker
    assert last == wanted or not wanted


def test_whoever_insists_is_answered_ever_later_and_later_at_once_again() -> None:
    owned = owner()
    pauses = [owned.pause_s(TOPIC, float(number)) for number in range(AT_ONCE + 20)]
    assert pauses[:AT_ONCE] == [0.0] * AT_ONCE
    assert pauses[AT_ONCE:] == sorted(pauses[AT_ONCE:])
    assert pauses[-1] == LONGEST_PAUSE_S
    assert owned.pause_s(TOPIC, 1000.0) == 0.0
