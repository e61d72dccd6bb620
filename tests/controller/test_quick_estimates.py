"""What is planned by a quick profile is as unsure as such a profile is, and new possibilities are reasons to plan again."""

from __future__ import annotations

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.fleet_figures import Figures, NodeFigures
from edgesplit_controller.deciding.changes.impact.link_impact import LinkImpact
from edgesplit_controller.deciding.changes.replan_reasons import reasons
from edgesplit_controller.fleet.estimation.observations import ProfileSeen
from edgesplit_controller.fleet.estimation.speed_belief import begun, expected

QUICK = ExecutionProfile(
    time_s={"a": 0.01},
    quantized_time_s={},
    whole_s=0.01,
    runs=2,
    provider="CPUExecutionProvider",
    threads=1,
    runtime="r",
    origin="modelled",
    moments=1,
)

NO_LINKS = LinkImpact(
    plan_s=0.1,
    plan_j=1.0,
    latency_weight=1.0,
    energy_weight=0.0,
    source="a",
    device_limit_j=None,
    transmit_w={},
    sent={},
    sizes=(),
    floor_s=0.001,
)


def test_quick_is_what_was_timed_once_and_shared_out() -> None:
    assert QUICK.is_quick
    assert not msgspec.structs.replace(QUICK, origin="measured").is_quick
    assert not msgspec.structs.replace(QUICK, moments=3).is_quick, "a graphics processor's units are modelled, too"


def test_a_part_of_a_quick_profile_may_take_half_or_twice_as_long_and_the_whole_hardly() -> None:
    seen = ProfileSeen(at_s=0.0, node="n", model="m", whole_s=0.1, moments=1, quick=True)
    measured = ProfileSeen(at_s=0.0, node="n", model="m", whole_s=0.1, moments=4, whole_spread=0.01)
    part, whole = (expected(begun(seen), "k", seconds, 0.0).deviation for seconds in (0.02, 0.1))
    sure_part, sure_whole = (expected(begun(measured), "k", seconds, 0.0).deviation for seconds in (0.02, 0.1))
    assert part > 0.3 > 3 * sure_part
    assert 0.1 < whole < 0.15 < part
    assert sure_whole < whole


def test_int8_and_codecs_that_become_available_are_reasons_of_their_own() -> None:
    float_only = NodeFigures(1.0, 1.0, None, times_s=(0.1,))
    before = Figures({"a": float_only, "b": float_only})
    with_int8 = NodeFigures(1.0, 1.0, None, times_s=(0.1,), int8_times_s=(0.05,))
    found = reasons(before, Figures({"a": with_int8, "b": with_int8}, codecs=True), Thresholds(), NO_LINKS)
    assert [reason.kind for reason in found] == ["int8-available", "codecs-available"]
    assert not any(reason.quiet for reason in found)
    again = reasons(
        Figures({"a": with_int8}, codecs=True), Figures({"a": with_int8}, codecs=True), Thresholds(), NO_LINKS
    )
    assert again == ()
