from __future__ import annotations

import json

import msgspec
import pytest

from lab.dynamics.outcome.energy import energy_samples
from lab.dynamics.outcome.observations import Counted, heard_and_counted, traced
from lab.play_results import TracedRequest


def line(**keys: object) -> str:
    return json.dumps(keys) + "\n"


def test_requests_are_ordered_by_when_they_were_sent_and_begin_with_the_script() -> None:
    lines = [
        line(at_unix_s=99.9, latency_s=0.5, epoch=1, failure=""),
        line(at_unix_s=101.0, latency_s=None, epoch=None, failure="edge is gone"),
        line(at_unix_s=100.5, latency_s=0.75, epoch=2, failure=""),
        line(at_unix_s=102.0, latency_s=None, epoch=None, failure="edge is gone"),
    ]
    requests, failures = traced(lines, 100.0)
    assert requests == [
        TracedRequest(at_s=0.5, latency_s=0.75, epoch=2),
        TracedRequest(at_s=1.0, failed=True),
        TracedRequest(at_s=2.0, failed=True),
    ]
    assert failures == ["edge is gone"]


def test_a_line_that_was_cut_off_is_left_out_and_a_broken_one_is_not() -> None:
    good = line(at_unix_s=100.5, latency_s=0.75, epoch=2, failure="")
    assert len(traced([good, good[:20]], 100.0)[0]) == 1
    with pytest.raises(msgspec.DecodeError):
        traced([good[:20] + "\n", good], 100.0)


def test_events_of_other_models_and_times_are_left_out_and_earlier_counters_are_not() -> None:
    usage = {"node": "edge", "model": "m", "epoch": 3, "energy_j": 2.0, "counted_since_unix_s": 90.0, "requests": 1}
    lines = [
        line(at_unix_s=99.0, event={"kind": "planned", "text": "early", "model": "m", "at_unix_s": 99.0}),
        line(at_unix_s=99.0, usage=usage),
        line(at_unix_s=101.0, event={"kind": "planned", "text": "other", "model": "n"}),
        line(at_unix_s=101.0, usage={**usage, "model": "n"}),
        line(at_unix_s=102.5, event={"kind": "link-changed", "text": "slow", "data": {"from": "edge"}}),
    ]
    events, counters = heard_and_counted(lines, "m", 100.0)
    assert [(event.at_s, event.kind, event.data) for event in events] == [(2.5, "link-changed", {"from": "edge"})]
    assert counters == [Counted(at_s=-1.0, node="edge", epoch=3, since_unix_s=90.0, joules=2.0)]


def test_energy_is_what_counters_grew_by_over_the_requests_answered_meanwhile() -> None:
    counters = [
        Counted(at_s=-1.0, node="edge", epoch=1, since_unix_s=5.0, joules=10.0),
        Counted(at_s=1.0, node="edge", epoch=1, since_unix_s=5.0, joules=14.0),
        Counted(at_s=1.5, node="device", epoch=1, since_unix_s=5.0, joules=2.0),
        Counted(at_s=3.0, node="edge", epoch=2, since_unix_s=9.0, joules=1.0),
    ]
    requests = [TracedRequest(at_s=at_s, latency_s=0.5) for at_s in (0.0, 0.5, 2.0)]
    requests.append(TracedRequest(at_s=2.5, failed=True))
    found = energy_samples(counters, requests, 6.0, step_s=2.0)
    assert [sample.at_s for sample in found] == [2.0, 4.0]
    assert [sample.joules for sample in found] == pytest.approx([3.0, 1.0])


def test_a_counter_that_began_anew_counts_from_nothing() -> None:
    counters = [
        Counted(at_s=0.5, node="edge", epoch=1, since_unix_s=5.0, joules=10.0),
        Counted(at_s=1.0, node="edge", epoch=1, since_unix_s=8.0, joules=1.0),
    ]
    (sample,) = energy_samples(counters, [TracedRequest(at_s=0.0, latency_s=0.5)], 2.0, step_s=2.0)
    assert sample.joules == pytest.approx(11.0)
