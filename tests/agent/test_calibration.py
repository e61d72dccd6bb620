"""The fit of what changes of form cost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit_agent.profiling.timing.transition_times import Sample, fit_transitions

RATES = st.floats(0.0, 2e-9, allow_subnormal=False)


def sample(kernels_s: float, nbytes: dict[str, float], rates: dict[str, float]) -> Sample:
    return Sample(kernels_s, kernels_s + sum(rates[kind] * size for kind, size in nbytes.items()), nbytes)


@settings(max_examples=30, deadline=None)
@given(first=RATES, second=RATES)
def test_rates_that_explain_the_times_exactly_are_predicted_with(first: float, second: float) -> None:
    rates = {"to-float": first, "to-int8": second}
    shapes = [(1e6, 0.0), (0.0, 2e6), (3e6, 1e6), (2e6, 5e6)]
    samples = [sample(0.01, {"to-float": a, "to-int8": b}, rates) for a, b in shapes]
    found = fit_transitions(samples)
    for entry in samples:
        predicted = entry.kernels_s + sum(found.get(kind, 0.0) * size for kind, size in entry.transition_bytes.items())
        assert predicted == pytest.approx(entry.measured_s, rel=0.03)


def test_parts_that_ran_faster_than_their_kernels_give_no_negative_cost() -> None:
    samples = [Sample(0.010, 0.009, {"reorder": 1e6}), Sample(0.010, 0.012, {"to-float": 2e6})]
    found = fit_transitions(samples)
    assert all(cost >= 0 for cost in found.values())
    assert found["to-float"] > 0


def test_nothing_is_made_of_no_samples() -> None:
    assert fit_transitions([]) == {}
    assert fit_transitions([Sample(0.01, 0.01, {})]) == {}
    assert fit_transitions([Sample(0.0, 0.0, {"reorder": 1.0})]) == {}
