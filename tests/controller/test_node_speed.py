"""What live timings say about a node's speed: steps, noise, errors of components, float and int8, recovery."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesplit_controller.fleet.speed_factors import (
    FIRST_HOLD_S,
    KEPT_COMPONENTS,
    NodeSpeed,
    Timed,
    expected_s,
    factors,
    served,
    timed_again,
)

BASE_S = 0.02


def ran(measured_s: float, key: str = "a", float_s: float = BASE_S, int8_s: float = 0.0) -> Timed:
    """A component, by default all float."""
    return Timed(key, float_s, int8_s, measured_s)


def heard(speed: NodeSpeed, *reports: float, key: str = "a") -> NodeSpeed:
    """Reports of one component, a second apart."""
    for now_s, measured_s in enumerate(reports):
        speed = served(speed, [ran(measured_s, key)], float(now_s))
    return speed


STEADY = heard(NodeSpeed(), *[BASE_S] * 5)


def test_a_component_that_takes_a_little_longer_than_predicted_is_predicted_so_and_others_follow() -> None:
    speed = heard(NodeSpeed(), *[1.06 * BASE_S] * 10)
    assert speed.factor == 1.0
    assert expected_s(speed, ran(0.0)) == pytest.approx(1.06 * BASE_S, rel=1e-3)
    assert 1.02 < factors(speed).in_float < 1.06
    assert expected_s(speed, ran(0.0, "never timed")) == pytest.approx(factors(speed).in_float * BASE_S)


@given(st.lists(st.floats(0.9, 1.1), min_size=1, max_size=60))
def test_noise_of_ten_percent_is_no_change_of_the_node(ratios: list[float]) -> None:
    speed = heard(STEADY, *(ratio * BASE_S for ratio in ratios))
    assert speed.suspected is None
    assert 0.85 < factors(speed).in_float < 1.15


@given(st.floats(1.5, 50.0), st.floats(0.97, 1.03))
def test_a_node_that_slows_down_is_believed_at_the_second_report_and_not_at_the_first(
    factor: float, noise: float
) -> None:
    once = heard(STEADY, factor * BASE_S)
    assert once.factor == STEADY.factor
    twice = heard(once, factor * noise * BASE_S)
    assert twice.factor == pytest.approx(factor * noise, rel=1e-6)
    assert expected_s(twice, ran(0.0)) == pytest.approx(factor * noise * BASE_S, rel=1e-3)
    assert heard(twice, BASE_S, BASE_S).factor == pytest.approx(1.0, rel=1e-3)


def test_a_passing_load_is_forgotten() -> None:
    speed = heard(STEADY, 3 * BASE_S, BASE_S, 3 * BASE_S, BASE_S)
    assert speed.factor == pytest.approx(1.0)
    assert speed.suspected is None


def test_reports_that_still_change_are_waited_for() -> None:
    # The window of runs fills with slow ones: 1.3, 1.7, then twice as slow.
    speed = heard(STEADY, 1.3 * BASE_S, 1.7 * BASE_S, 2.0 * BASE_S)
    assert speed.factor == pytest.approx(1.0)
    assert heard(speed, 2.0 * BASE_S).factor == pytest.approx(2.0)


def test_what_is_heard_first_holds_at_once() -> None:
    speed = served(NodeSpeed(), [ran(2 * BASE_S)], 0.0, first=True)
    assert speed.factor == pytest.approx(2.0)


def test_a_tiny_component_does_not_make_a_node_slow() -> None:
    tiny = Timed("tiny", 1e-4, 0.0, 6e-4)
    speed = served(served(NodeSpeed(), [tiny], 0.0), [tiny], 1.0)
    assert speed.factor == pytest.approx(1.0, rel=0.05)
    assert factors(speed).in_float < 1.15
    assert expected_s(speed, tiny) == pytest.approx(6e-4, rel=0.01)


def test_a_component_seen_before_tells_a_node_from_a_wrong_prediction() -> None:
    # A new component takes 1.8 times what the profile says, while a known one takes what it always took.
    parts = [ran(BASE_S), ran(1.8 * BASE_S, "new")]
    speed = served(STEADY, parts, 9.0)
    assert speed.factor == pytest.approx(1.0)
    assert expected_s(speed, ran(0.0, "new")) == pytest.approx(1.8 * BASE_S)
    assert expected_s(speed, ran(0.0)) == pytest.approx(BASE_S)


def test_a_component_that_served_on_a_slower_node_is_predicted_for_the_present_one() -> None:
    speed = heard(STEADY, *[1.1 * BASE_S] * 20, key="b")
    speed = heard(speed, 2.2 * BASE_S, 2.2 * BASE_S, key="b")
    assert speed.factor == pytest.approx(2.0, rel=0.02)
    assert expected_s(speed, ran(0.0)) == pytest.approx(2 * BASE_S, rel=0.02)


@given(st.floats(0.87, 1.15), st.floats(0.87, 1.15))
def test_float_and_int8_are_told_apart_where_components_differ_in_them(in_float: float, in_int8: float) -> None:
    shares = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.9, 0.1), (0.1, 0.9)]
    speed = NodeSpeed()
    for number, (float_share, int8_share) in enumerate(shares):
        float_s, int8_s = float_share * BASE_S, int8_share * BASE_S
        part = Timed(str(number), float_s, int8_s, in_float * float_s + in_int8 * int8_s)
        speed = served(served(speed, [part], 0.0), [part], 1.0)
    found = factors(speed)
    assert found.in_float == pytest.approx(in_float, rel=0.06)
    assert found.in_int8 == pytest.approx(in_int8, rel=0.06)


def test_components_that_are_all_half_int8_correct_both_alike() -> None:
    part = Timed("a", BASE_S / 2, BASE_S / 2, 1.1 * BASE_S)
    found = factors(served(NodeSpeed(), [part], 0.0))
    assert found.in_float == pytest.approx(found.in_int8)
    assert 1.03 < found.in_float < 1.1


def test_an_idle_node_that_became_slower_is_believed_at_the_second_timing_and_its_recovery_at_once() -> None:
    speed = timed_again(STEADY, 0.1, 0.2, 0.0)
    assert speed.factor == pytest.approx(1.0)
    speed = timed_again(speed, 0.1, 0.2, 10.0)
    assert speed.factor == pytest.approx(2.0)
    speed = timed_again(speed, 0.1, 0.1, 20.0)
    assert speed.factor == pytest.approx(1.0)
    assert speed.origin == "timed again"
    assert expected_s(speed, ran(0.0)) == pytest.approx(BASE_S)


def test_a_profile_taken_while_the_machine_was_busy_is_corrected_at_the_first_timing() -> None:
    assert factors(timed_again(NodeSpeed(), 0.2, 0.1, 0.0)).in_float == pytest.approx(0.5, rel=0.01)


def test_colder_caches_of_an_idle_node_do_not_change_what_serving_showed() -> None:
    speed = timed_again(heard(NodeSpeed(), *[1.06 * BASE_S] * 10), 0.1, 0.115, 0.0)
    for now_s in range(1, 20):
        speed = timed_again(speed, 0.1, 0.115, 10.0 * now_s)
    assert expected_s(speed, ran(0.0)) == pytest.approx(1.06 * BASE_S, rel=1e-3)


def test_a_node_that_is_slow_only_while_it_works_is_not_taken_back_each_time_it_rests() -> None:
    speed, now_s, switches = STEADY, 0.0, 0
    for _ in range(600):
        now_s += 10.0
        before = speed.factor
        if before < 1.5:  # a plan uses it, and it turns out slow
            for _ in range(2):
                now_s += 1.0
                speed = served(speed, [ran(2 * BASE_S)], now_s)
        else:  # the plan left; idle, it is fast
            speed = timed_again(speed, 0.1, 0.1, now_s)
        switches += speed.factor != pytest.approx(before)
    # Twice 600 without holding it back.
    assert switches < 30
    assert speed.hold_s > FIRST_HOLD_S


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.lists(
                st.tuples(st.sampled_from("abcd"), st.floats(0, 10), st.floats(0, 10), st.floats(0, 100)),
                min_size=1,
                max_size=4,
            ),
        ),
        max_size=40,
    )
)
@example([(False, [("a", 5e-324, 0.0, 1.0)]), (True, [("a", 0.0, 5e-324, 1.0)]), (False, [("a", 1e-300, 0.0, 0.0)])])
def test_whatever_is_heard_factors_stay_positive_and_bounded(
    reports: list[tuple[bool, list[tuple[str, float, float, float]]]],
) -> None:
    speed = NodeSpeed()
    for now_s, (idle, parts) in enumerate(reports):
        if idle:
            speed = timed_again(speed, parts[0][1], parts[0][3], float(now_s))
        else:
            speed = served(speed, [Timed(*part) for part in parts], float(now_s))
        found = factors(speed)
        assert 0.001 < found.in_float < 1e4
        assert 0.001 < found.in_int8 < 1e4
        assert all(expected_s(speed, Timed(*part)) >= 0 for part in parts)


def test_memory_of_components_is_bounded() -> None:
    speed = NodeSpeed()
    for number in range(3 * KEPT_COMPONENTS):
        speed = served(speed, [ran(BASE_S, str(number))], float(number))
    assert list(speed.known)[-1] == str(3 * KEPT_COMPONENTS - 1)
    assert len(speed.known) == KEPT_COMPONENTS
