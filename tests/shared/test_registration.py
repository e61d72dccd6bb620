"""Who holds a name when two programs ask for it: literals in, values out, and any order of events."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from edgesplit.mqtt.name_registration import ANSWER_S, ECHO_S, RETRY_S, Claim, Presence, Registration
from edgesplit.mqtt.packet_limit import PacketLimit

FIRST = Presence(online=True, instance="first", advertise="10.9.0.1:7400")
GONE = Presence(online=False, instance="first")


def claimed(instance: str = "second") -> Registration:
    registration = Registration(instance)
    registration.connected(0.0)
    assert registration.claim_due(0.0)
    return registration


def test_a_free_name_is_held_as_soon_as_the_own_claim_comes_back() -> None:
    registration = claimed()
    registration.heard_claim(Claim("second"), 0.1)
    assert registration.standing == "held"


def test_a_predecessor_that_said_goodbye_is_none() -> None:
    registration = claimed()
    registration.heard_presence(GONE, retained=True, now_s=0.05)
    registration.heard_claim(Claim("second"), 0.1)
    assert registration.standing == "held"


def test_a_registration_that_nobody_answers_for_is_taken_over() -> None:
    registration = claimed()
    registration.heard_presence(FIRST, retained=True, now_s=0.05)
    registration.heard_claim(Claim("second"), 0.1)
    assert registration.rival == FIRST
    registration.claim_due(0.1 + ANSWER_S)
    assert registration.standing == "held"


def test_a_holder_that_answers_serves_on_and_the_second_is_refused_with_its_address() -> None:
    holder, second = claimed("first"), claimed("second")
    holder.heard_claim(Claim("first"), 0.1)
    second.heard_presence(FIRST, retained=True, now_s=0.2)
    second.heard_claim(Claim("second"), 0.3)
    assert holder.heard_claim(Claim("second"), 0.3)  # it answers
    second.heard_presence(FIRST, retained=False, now_s=0.4)
    assert (holder.standing, second.standing) == ("held", "refused")
    assert second.rival is not None
    assert second.rival.where == " (at 10.9.0.1:7400)"


def test_a_registration_that_came_before_the_last_subscription_was_confirmed_counts() -> None:
    registration = Registration("second")
    registration.heard_presence(FIRST, retained=True, now_s=0.0)
    registration.connected(0.1)
    registration.heard_claim(Claim("second"), 0.2)
    assert registration.standing != "held"


def test_who_was_refused_holds_the_name_once_the_holder_has_gone() -> None:
    second = claimed()
    second.heard_presence(FIRST, retained=False, now_s=0.1)
    assert not second.claim_due(1.0)
    second.heard_presence(GONE, retained=False, now_s=2.0)
    assert second.claim_due(2.1)
    second.heard_claim(Claim("second"), 2.2)
    assert second.standing == "held"


def test_who_was_refused_asks_again_in_case_the_holder_went_without_a_word() -> None:
    second = claimed()
    second.heard_presence(FIRST, retained=False, now_s=0.1)
    assert second.claim_due(0.1 + RETRY_S)


def test_a_broker_that_passes_nothing_on_is_noticed_and_claims_grow_rare() -> None:
    registration = claimed()
    assert registration.claim_due(1.0)
    assert not registration.deaf
    assert registration.claim_due(ECHO_S + 1.0)
    assert registration.deaf
    assert not registration.claim_due(ECHO_S + 2.0)
    registration.heard_claim(Claim("second"), ECHO_S + 3.0)
    assert (registration.deaf, registration.standing) == (False, "held")


def test_an_own_registration_that_does_not_come_back_is_noticed() -> None:
    registration = claimed()
    registration.heard_claim(Claim("second"), 0.1)
    registration.claim_due(0.2 + ECHO_S)
    assert registration.deaf
    registration.heard_presence(Presence(online=True, instance="second"), retained=False, now_s=9.0)
    assert not registration.deaf
    assert not registration.waiting


@given(st.lists(st.sampled_from(["a", "b", "tick"]), max_size=60))
def test_two_that_hear_each_other_never_both_hold_the_name_for_long(order: list[str]) -> None:
    """A broker that delivers in order, and two programs that take turns in any order."""
    programs = {"a": Registration("a"), "b": Registration("b")}
    queues: dict[str, list[tuple[str, str]]] = {"a": [], "b": []}
    published: set[str] = set()
    now_s = 0.0

    def publish(kind: str, sender: str) -> None:
        for queue in queues.values():
            queue.append((kind, sender))

    def act(name: str) -> None:
        program = programs[name]
        if queues[name]:
            kind, sender = queues[name].pop(0)
            if kind == "claim":
                if program.heard_claim(Claim(sender), now_s):
                    publish("presence", name)
            else:
                program.heard_presence(Presence(online=True, instance=sender), retained=False, now_s=now_s)
                if program.standing == "held" and sender != name:
                    publish("presence", name)  # the bus puts an own topic right
        if program.claim_due(now_s):
            publish("claim", name)
        if program.standing == "held" and name not in published:
            published.add(name)
            publish("presence", name)
        if program.standing != "held":
            published.discard(name)

    for program in programs.values():
        program.connected(0.0)
    for step in order:
        if step == "tick":
            now_s += 0.5
        else:
            act(step)
    for _ in range(400):
        now_s += 0.05
        act("a")
        act("b")
        if not any(queues.values()) and sorted(p.standing for p in programs.values()) == ["held", "refused"]:
            break
    assert sorted(program.standing for program in programs.values()) == ["held", "refused"]


def test_a_single_forged_registration_takes_no_name() -> None:
    registration = claimed()
    registration.heard_claim(Claim("second"), 0.1)
    for now_s in (1.0, 20.0, 40.0, 60.0):  # a program would insist at once
        registration.heard_presence(Presence(online=True, instance="0"), retained=False, now_s=now_s)
    assert registration.standing == "held"


def test_a_message_is_blamed_only_when_it_was_the_largest_twice_in_a_row() -> None:
    limit = PacketLimit()
    limit.sent(1, "large", 5000)
    limit.sent(2, "small", 10)
    assert limit.connection_lost() is None  # both are sent again over the next connection
    limit.confirmed(2)
    blamed = limit.connection_lost()
    assert blamed is not None
    assert (blamed.topic, limit.admits(5000), limit.admits(4999)) == ("large", False, True)


def test_a_message_that_was_confirmed_meanwhile_is_not_blamed() -> None:
    limit = PacketLimit()
    limit.sent(1, "metrics", 600)
    assert limit.connection_lost() is None
    limit.confirmed(1)
    limit.sent(2, "metrics", 600)
    assert limit.connection_lost() is None


def test_a_broker_that_comes_back_for_another_reason_is_tried_with_everything_again() -> None:
    limit = PacketLimit(refused_bytes=5000)
    assert limit.connection_lost() is None
    assert limit.admits(5000)
