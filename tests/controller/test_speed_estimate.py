"""What observations teach of a node's speed: noise, drifts, jumps, errors of components, int8, recovery, codecs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesplit_controller.fleet.estimation.observations import (
    CodingRan,
    PartRan,
    PartsRan,
    ProfileSeen,
    TensorsCoded,
    WholeRan,
)
from edgesplit_controller.fleet.estimation.speed_belief import (
    FIRST_HOLD_S,
    KEPT_COMPONENTS,
    TYPICAL,
    NodeSpeed,
    begun,
    coding_factor,
    expected,
    factors,
    tensor_factors,
)
from edgesplit_controller.fleet.estimation.speed_estimate import taken

BASE_S, WHOLE_S = 0.02, 0.1
FRESH = begun(ProfileSeen(at_s=0.0, node="n", model="m", whole_s=WHOLE_S, rested_s=WHOLE_S, rested_spread=0.01))


def part(*samples: float, key: str = "a", float_s: float = BASE_S, int8_s: float = 0.0) -> PartRan:
    """A component, by default all float."""
    return PartRan(key=key, float_s=float_s, int8_s=int8_s, samples=samples)


def served(speed: NodeSpeed, *parts: PartRan, after_s: float = 1.0) -> NodeSpeed:
    """One report."""
    return taken(speed, PartsRan(at_s=speed.at_s + after_s, node="n", model="m", parts=parts))


def timed_again(speed: NodeSpeed, *samples: float, after_s: float = 10.0) -> NodeSpeed:
    """The whole model."""
    observation = WholeRan(at_s=speed.at_s + after_s, node="n", model="m", profiled_s=WHOLE_S, samples=samples)
    return taken(speed, observation)


def heard(speed: NodeSpeed, *reports: float, key: str = "a") -> NodeSpeed:
    """Reports of one run of one component, a second apart."""
    for measured_s in reports:
        speed = served(speed, part(measured_s, key=key))
    return speed


def predicted_s(speed: NodeSpeed, key: str = "a", float_s: float = BASE_S, int8_s: float = 0.0) -> float:
    return expected(speed, key, float_s, int8_s).seconds


STEADY = heard(FRESH, *[BASE_S] * 20)
"""Its runs scatter less than any real ones."""


def noisy(true: Callable[[float], float], seconds: int, noise: float, seed: int) -> list[NodeSpeed]:
    """What is believed after each of so many reports of one run."""
    chance, speed, beliefs = random.Random(seed), STEADY, list[NodeSpeed]()
    for second in range(seconds):
        speed = served(speed, part(BASE_S * true(second) * math.exp(chance.gauss(0, noise))))
        beliefs.append(speed)
    return beliefs


def test_a_component_that_takes_a_little_longer_than_predicted_is_predicted_so_and_others_follow_in_part() -> None:
    speed = heard(FRESH, *[1.06 * BASE_S] * 10)
    assert predicted_s(speed) == pytest.approx(1.06 * BASE_S, rel=0.01)
    assert 1.01 < factors(speed).in_float < 1.06
    assert predicted_s(speed, "never timed") == pytest.approx(factors(speed).in_float * BASE_S, rel=0.02)
    assert expected(speed, "never timed", BASE_S, 0.0).deviation > 2 * expected(speed, "a", BASE_S, 0.0).deviation


@given(st.integers(0, 10**6))
def test_noise_of_runs_is_averaged_and_moves_nothing(seed: int) -> None:
    beliefs = noisy(lambda _: 1.0, 60, 0.02, seed)
    assert all(abs(predicted_s(speed) / BASE_S - 1) < 0.03 for speed in beliefs)


@pytest.mark.parametrize("seed", range(6))
def test_twenty_percent_of_noise_for_ten_minutes_is_no_change_of_the_node(seed: int) -> None:
    beliefs = noisy(lambda _: 1.0, 600, 0.2, seed)
    assert all(abs(predicted_s(speed) / BASE_S - 1) < 0.2 for speed in beliefs)
    last = expected(beliefs[-1], "a", BASE_S, 0.0)
    assert abs(math.log(last.seconds / BASE_S)) < 4 * last.deviation


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [1.1, 1 / 1.1])
def test_a_tenth_more_or_less_is_believed_within_a_minute(share: float, seed: int) -> None:
    beliefs = noisy(lambda _: share, 60, 0.02, seed)
    assert predicted_s(beliefs[-1]) == pytest.approx(share * BASE_S, rel=0.03)


@pytest.mark.parametrize("seed", range(6))
def test_a_drift_is_followed(seed: int) -> None:
    beliefs = noisy(lambda second: 1 + 0.2 * second / 600, 600, 0.02, seed)
    worst = max(abs(predicted_s(speed) / (BASE_S * (1 + 0.2 * at / 600)) - 1) for at, speed in enumerate(beliefs))
    assert worst < 0.05


@given(st.floats(1.6, 50.0), st.floats(0.97, 1.03), st.booleans())
def test_a_node_that_jumps_is_believed_at_the_third_report_and_not_before(
    factor: float, noise: float, faster: bool
) -> None:
    factor = 1 / factor if faster else factor
    twice = heard(STEADY, factor * BASE_S, factor * noise * BASE_S)
    assert predicted_s(twice) == pytest.approx(BASE_S, rel=0.01)
    thrice = heard(twice, factor * noise * BASE_S)
    assert predicted_s(thrice) == pytest.approx(factor * noise * BASE_S, rel=0.05)
    assert predicted_s(heard(thrice, BASE_S, BASE_S, BASE_S)) == pytest.approx(BASE_S, rel=0.05)


def test_a_passing_load_is_forgotten() -> None:
    speed = heard(STEADY, 3 * BASE_S, BASE_S, 3 * BASE_S, BASE_S)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.01)
    assert speed.suspected == ()


def test_reports_that_still_change_are_waited_for() -> None:
    speed = heard(STEADY, 1.3 * BASE_S, 1.7 * BASE_S, 2.1 * BASE_S)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.01)
    assert predicted_s(heard(speed, 2.1 * BASE_S, 2.1 * BASE_S)) == pytest.approx(2.1 * BASE_S, rel=0.03)


def test_what_is_heard_first_holds_at_once() -> None:
    assert predicted_s(served(FRESH, part(2 * BASE_S))) == pytest.approx(2 * BASE_S, rel=0.03)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_few_operators_that_are_timed_first_say_of_themselves_what_they_take_and_little_of_the_node(
    factor: float,
) -> None:
    """The node timed the whole model for its profile; what a profile says of a few operators may be far off."""
    few_s = 0.05 * WHOLE_S
    speed = served(FRESH, part(*[factor * few_s] * 3, float_s=few_s))
    assert predicted_s(speed, float_s=few_s) == pytest.approx(factor * few_s, rel=0.1)
    assert factors(speed).in_float == pytest.approx(1.0, rel=0.15)
    most_s = 0.9 * WHOLE_S
    assert factors(served(FRESH, part(*[factor * most_s] * 3, float_s=most_s))).in_float == pytest.approx(
        factor, rel=0.15
    )


def test_more_samples_weigh_more() -> None:
    one, dozen = served(FRESH, part(1.05 * BASE_S)), served(FRESH, part(*[1.05 * BASE_S] * 12))
    assert BASE_S < predicted_s(one) < predicted_s(dozen) < 1.05 * BASE_S
    mean = served(FRESH, PartRan(key="a", float_s=BASE_S, int8_s=0.0, samples=(1.05 * BASE_S,), runs=12))
    assert predicted_s(one) < predicted_s(mean) < predicted_s(dozen)


def test_a_tiny_component_does_not_make_a_node_slow() -> None:
    tiny = part(6e-4, key="tiny", float_s=1e-4)
    speed = FRESH
    for _ in range(8):
        speed = served(speed, tiny)
    assert speed.factor == pytest.approx(1.0, rel=0.05)
    assert factors(speed).in_float < 1.1
    assert predicted_s(speed, "tiny", 1e-4) == pytest.approx(6e-4, rel=0.1)


def test_a_component_seen_before_tells_a_node_from_a_wrong_prediction() -> None:
    # A new component takes 1.8 times what the profile says, while a known one takes what it always took.
    speed = STEADY
    for _ in range(10):
        speed = served(speed, part(BASE_S), part(1.8 * BASE_S, key="new"))
    assert speed.factor == pytest.approx(1.0, rel=0.03)
    assert predicted_s(speed, "new") == pytest.approx(1.8 * BASE_S, rel=0.05)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.02)


def test_a_component_that_served_on_a_slower_node_is_predicted_for_the_present_one() -> None:
    speed = heard(STEADY, *[1.05 * BASE_S] * 20, key="b")
    speed = heard(speed, *[2.1 * BASE_S] * 3, key="b")
    assert speed.factor == pytest.approx(2.0, rel=0.03)
    assert predicted_s(speed) == pytest.approx(2 * BASE_S, rel=0.03)


@given(st.floats(0.92, 1.08), st.floats(0.92, 1.08))
def test_float_and_int8_are_told_apart_where_components_differ_in_them(in_float: float, in_int8: float) -> None:
    shares = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.9, 0.1), (0.1, 0.9)]
    speed = FRESH
    for _ in range(30):
        parts = [
            part(BASE_S * (one * in_float + other * in_int8), key=str(at), float_s=one * BASE_S, int8_s=other * BASE_S)
            for at, (one, other) in enumerate(shares)
        ]
        speed = served(speed, *parts)
    found = factors(speed)
    assert found.in_int8 / found.in_float == pytest.approx(in_int8 / in_float, rel=0.06)
    assert predicted_s(speed, "0") == pytest.approx(in_float * BASE_S, rel=0.02)


def test_components_that_are_all_half_int8_correct_both_alike() -> None:
    found = factors(served(FRESH, *[part(1.1 * BASE_S, float_s=BASE_S / 2, int8_s=BASE_S / 2)] * 2))
    assert found.in_float == pytest.approx(found.in_int8)
    assert 1.03 < found.in_float < 1.1


def test_an_idle_node_that_became_slower_is_believed_at_the_second_timing_and_its_recovery_at_once() -> None:
    speed = timed_again(STEADY, *[2 * WHOLE_S] * 6)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.01)
    speed = timed_again(speed, *[2 * WHOLE_S] * 6)
    assert predicted_s(speed) == pytest.approx(2 * BASE_S, rel=0.05)
    speed = timed_again(speed, *[WHOLE_S] * 6)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.05)
    assert speed.origin == "timed again"


def test_a_profile_taken_while_the_machine_was_busy_is_corrected_at_the_first_timing() -> None:
    assert factors(timed_again(FRESH, *[WHOLE_S / 2] * 6)).in_float == pytest.approx(0.5, rel=0.05)


def test_idle_timings_count_for_what_they_are_worth() -> None:
    # A single run that is a little slower moves what serving showed by nearly nothing; what it shows again and again is
    # what a pause costs, not the node.
    assert predicted_s(timed_again(STEADY, 1.1 * WHOLE_S)) == pytest.approx(BASE_S, rel=0.01)
    speed = STEADY
    for _ in range(20):
        speed = timed_again(speed, *[1.05 * WHOLE_S] * 6)
        speed = heard(speed, BASE_S, BASE_S)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.01)


def test_a_node_that_is_slow_only_while_it_works_is_not_taken_back_each_time_it_rests() -> None:
    speed, switches = STEADY, 0
    for _ in range(600):
        before = speed.factor
        # Found fast, a plan uses it, and it turns out slow; then the plan leaves, and idle, it is fast.
        speed = heard(speed, *[2 * BASE_S] * 3) if before < 1.5 else timed_again(speed, *[WHOLE_S] * 6)
        switches += abs(speed.factor / before - 1) > 0.2
    # Twice 600 without holding it back.
    assert switches < 40
    assert speed.hold_s > FIRST_HOLD_S


def test_the_same_prediction_does_not_wander_while_nothing_changes() -> None:
    for seed in range(10):
        beliefs = noisy(lambda _: 1.0, 600, 0.02, seed)
        means = [predicted_s(speed) / BASE_S for speed in beliefs]
        deviation = max(expected(speed, "a", BASE_S, 0.0).deviation for speed in beliefs)
        assert max(means) - min(means) < min(0.05, 2 * 1.645 * deviation)


def coded(speed: NodeSpeed, *samples: float, tensor: str = "t", codec: str = "lz4") -> NodeSpeed:
    run = CodingRan(tensor=tensor, codec=codec, direction="encode", profiled_s=1e-3, samples=samples)
    return taken(speed, TensorsCoded(at_s=speed.at_s + 1, node="n", model="m", codings=(run,)))


def test_codecs_are_corrected_by_what_they_took_and_move_no_node() -> None:
    speed = STEADY
    for _ in range(10):
        speed = coded(speed, *[2e-3] * 5)
    assert tensor_factors(speed).keys() == {("t", "lz4", "encode")}
    assert coding_factor(speed, "lz4", "encode", "t").seconds == pytest.approx(2.0, rel=0.05)
    assert 1.5 < coding_factor(speed, "lz4", "encode").seconds < 2.0
    assert coding_factor(speed, "lz4", "encode", "t").deviation < coding_factor(speed, "lz4", "encode").deviation
    # What profiles do not see of one codec they do not see of others either; restoring is another matter.
    assert 1.2 < coding_factor(speed, "zstd", "encode").seconds < coding_factor(speed, "lz4", "encode").seconds
    assert coding_factor(speed, "lz4", "decode").seconds == pytest.approx(speed.factor, rel=0.02)
    assert predicted_s(speed) == pytest.approx(BASE_S, rel=0.02)


def test_a_restless_machine_is_predicted_less_surely_from_the_beginning() -> None:
    def deviation(host_spread: float) -> float:
        seen = ProfileSeen(at_s=0.0, node="n", model="m", whole_s=1.0, host_spread=host_spread)
        return expected(begun(seen), "a", 1.0, 0.0).deviation

    assert deviation(0.0) == deviation(0.01) < deviation(0.05) < deviation(0.09)


def test_codings_never_move_a_node_however_often_they_are_heard() -> None:
    speed, chance = STEADY, random.Random(1)
    for number in range(200):
        speed = coded(speed, *[1e-3 * chance.uniform(0.4, 0.8)] * 16, tensor=str(number % 3))
    assert speed.factor == pytest.approx(STEADY.factor, rel=1e-9)
    assert speed.belief.expected({TYPICAL: 1.0}) == pytest.approx(STEADY.belief.expected({TYPICAL: 1.0}))
    assert predicted_s(speed) == pytest.approx(predicted_s(STEADY), rel=1e-3)


def test_a_profile_whose_rest_was_measured_badly_is_believed_less() -> None:
    def rested(spread: float) -> float:
        seen = ProfileSeen(at_s=0.0, node="n", model="m", whole_s=1.0, rested_s=1.1, rested_spread=spread)
        return factors(begun(seen)).in_float

    assert rested(0.001) == pytest.approx(1.1, rel=0.005)
    assert 1.0 < rested(0.2) < 1.02


SECONDS = st.floats(0, 100)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["parts", "whole", "codings"]),
            st.lists(
                st.tuples(st.sampled_from("abcd"), SECONDS, SECONDS, st.lists(SECONDS, max_size=4)),
                min_size=1,
                max_size=4,
            ),
        ),
        max_size=30,
    )
)
@example([("parts", [("a", 5e-324, 0.0, [1.0])]), ("whole", [("a", 0.0, 5e-324, [1.0])])])
@example([("parts", [("a", 1.0, 0.0, [1.0]), ("a", 1.0, 0.0, [100.0])])])
def test_whatever_is_heard_factors_stay_positive_and_bounded(
    reports: Sequence[tuple[str, Sequence[tuple[str, float, float, list[float]]]]],
) -> None:
    speed = FRESH
    for kind, parts in reports:
        if kind == "parts":
            speed = served(
                speed, *(part(*samples, key=key, float_s=one, int8_s=other) for key, one, other, samples in parts)
            )
        elif kind == "whole":
            speed = timed_again(speed, *parts[0][3])
        else:
            speed = coded(speed, *parts[0][3], tensor=parts[0][0])
        found = factors(speed)
        assert 0.0005 < found.in_float < 2e3
        assert 0.0005 < found.in_int8 < 2e3
        assert all(expected(speed, key, one, other).seconds >= 0 for key, one, other, _ in parts)
        assert all(math.isfinite(expected(speed, key, one, other).deviation) for key, one, other, _ in parts)


def test_memory_is_bounded() -> None:
    speed = FRESH
    for number in range(3 * KEPT_COMPONENTS):
        speed = heard(speed, BASE_S, key=str(number))
        speed = coded(speed, 1e-3, tensor=str(number))
    assert list(speed.known)[-1] == str(3 * KEPT_COMPONENTS - 1)
    assert len(speed.known) == KEPT_COMPONENTS
    assert len(speed.belief.kinds) < 4 * KEPT_COMPONENTS
