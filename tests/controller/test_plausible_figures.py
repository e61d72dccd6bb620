"""Which figures of nodes' messages are believed: none that cannot be, however deep it stands."""

from __future__ import annotations

import math

import msgspec
import pytest

from edgesplit.control.figure_messages import USAGE, Usage
from edgesplit.control.profile_messages import LIVE_TIMINGS, CodingTiming, ComponentTiming, LiveTimings, WholeTiming
from edgesplit_controller.fleet.plausibility import Plausibility

CODING = CodingTiming(tensor="a", codec="int8", direction="encode", nbytes=64, samples=(0.1, 0.2), number=1)
COMPONENT = ComponentTiming(
    graph="g", epoch=1, component=0, predicted_s=0.1, recent_s=0.1, runs=3, last_run_unix_s=1.0, samples=(0.1, 0.2)
)
WHOLE = WholeTiming(sha256="s", whole_s=0.1, runs=1, at_unix_s=1.0, samples=(0.1,))
TIMINGS = LiveTimings(
    node="edge", instance="i", model="m", at_unix_s=1.0, components=(COMPONENT,), whole=WHOLE, codings=(CODING,)
)
USED = Usage(
    node="edge", model="m", epoch=1, requests=1, failed=0, compute_s=1.0, transmit_s=0.0, energy_j=1.0,
    energy_origin="measured", coding_s=0.5, waiting_s=0.5, handling_s=0.1,
)  # fmt: skip


def doubt_of_timings(message: LiveTimings) -> str:
    return Plausibility(lambda _: 1, lambda: ("edge",)).doubt(LIVE_TIMINGS, LIVE_TIMINGS.of("edge", "m"), message)


def doubt_of_usage(message: Usage) -> str:
    return Plausibility(lambda _: 1, lambda: ("edge",)).doubt(USAGE, USAGE.of("edge", "m"), message)


def test_samples_and_parts_of_a_cost_that_can_be_are_believed() -> None:
    assert doubt_of_timings(TIMINGS) == ""
    assert doubt_of_usage(USED) == ""


@pytest.mark.parametrize("figure", [-0.1, 1e19, math.inf, math.nan])
def test_samples_that_cannot_be_are_not_believed(figure: float) -> None:
    samples = (0.1, figure)
    for wrong in (
        {"components": (msgspec.structs.replace(COMPONENT, samples=samples),)},
        {"whole": msgspec.structs.replace(WHOLE, samples=samples)},
        {"codings": (msgspec.structs.replace(CODING, samples=samples),)},
    ):
        assert "samples is" in doubt_of_timings(msgspec.structs.replace(TIMINGS, **wrong))


@pytest.mark.parametrize("part", ["coding_s", "waiting_s", "handling_s"])
def test_parts_of_a_cost_that_cannot_be_are_not_believed(part: str) -> None:
    assert doubt_of_usage(msgspec.structs.replace(USED, **{part: -0.1})) == f"{part} is -0.1, which cannot be"


def test_the_timings_of_a_large_plan_fit_their_messages() -> None:
    sixteen = tuple(0.1 / 3 + number for number in range(16))
    many = msgspec.structs.replace(
        TIMINGS,
        components=(msgspec.structs.replace(COMPONENT, graph="0" * 64, samples=sixteen),) * 1000,
        codings=(msgspec.structs.replace(CODING, tensor="t" * 200, samples=sixteen),) * 64,
    )
    assert len(msgspec.json.encode(many)) < LIVE_TIMINGS.limit_bytes / 4
