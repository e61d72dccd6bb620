"""What serving cost, counted by an agent: percentiles of the last requests' latencies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.figure_messages import Usage
from edgesplit_agent.reporting.collectors.power.sensor import Power
from edgesplit_agent.reporting.usage import RECENT_REQUESTS, UsageBook


def told(latencies_s: list[float]) -> Usage:
    """After a part that was computed for nobody, and requests that took so long."""
    book = UsageBook("device", Power(1.0, 1.0, "configured", "constant"))
    book.begin("m", 1)
    book.computed("m", 1, 0.1)
    for latency_s in latencies_s:
        book.completed("m", 1, latency_s)
    (usage,) = book.take_changed()
    return usage


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=2 * RECENT_REQUESTS))
def test_percentiles_are_numpy_s_of_the_last_requests(latencies_s: list[float]) -> None:
    usage = told(latencies_s)
    expected = np.percentile(latencies_s[-RECENT_REQUESTS:], (50, 95, 99))
    assert [usage.latency_p50_s, usage.latency_p95_s, usage.latency_p99_s] == pytest.approx(list(expected), abs=1e-9)


def test_before_a_request_there_is_no_percentile() -> None:
    usage = told([])
    assert (usage.latency_p50_s, usage.latency_p95_s, usage.latency_p99_s) == (None, None, None)
