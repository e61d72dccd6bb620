"""Rows judged beside the control: errors by part sum up, coverage and aims count everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.end_to_end.plans.rows import Control, Failed, Row, Split, judged, measured_split, predicted_split
from bench.end_to_end.plans.summary import summarized

ROW = Row(
    model="m",
    wish="device|cloud",
    at_s=0.0,
    again=False,
    rates=1.0,
    operators={"device": 3, "cloud": 4},
    quantized=0,
    codecs=(),
    components=2,
    predicted_s=1.0,
    interval_s=(0.9, 1.1),
    corrected_s=1.0,
    corrected_interval_s=None,
    measured_s=1.0,
)


def controlled(row: Row, device_s: float, cloud_s: float = 0.1) -> Row:
    controls = {"device": Control("0", device_s, device_s), "cloud": Control("1", cloud_s, cloud_s)}
    return replace(row, controls=controls, compute_by_node_s={"device": 0.5, "cloud": 0.1})


seconds = st.floats(0.0, 10.0)
splits = st.builds(Split, *[st.none() | seconds] * 4)


@given(st.floats(0.01, 10), st.floats(0.01, 10), splits, splits)
def test_the_parts_of_an_error_sum_up_to_it(predicted_s: float, measured_s: float, ours: Split, theirs: Split) -> None:
    row = replace(ROW, predicted_s=predicted_s, measured_s=measured_s, predicted=ours, measured=theirs)
    (entry,) = judged([row])
    assert sum(entry.parts_s.values()) == pytest.approx(predicted_s - measured_s, abs=1e-9)
    assert entry.error == pytest.approx(predicted_s / measured_s - 1)


def test_what_is_not_told_apart_is_what_is_left() -> None:
    on_one = replace(ROW, predicted_s=1.2, predicted=Split(1.2, 0.0, 0.0, 0.0), measured=Split(compute_s=0.9))
    cut = replace(ROW, predicted_s=1.2, predicted=Split(0.7, 0.1, 0.4, 0.0), measured=Split(0.6, 0.05, 0.9, 0.01))
    alone, travels = judged([on_one, cut])
    assert alone.parts_s == pytest.approx({"compute": 0.3, "other": -0.1})
    assert travels.parts_s == pytest.approx({"compute": 0.1, "coding": 0.05, "waiting": -0.01, "transfer": 0.06})


def test_a_slow_moment_of_the_machine_is_taken_out_of_the_compute_share_alone() -> None:
    slow, fast = judged([controlled(ROW, 0.12), controlled(ROW, 0.08)])
    assert slow.ratios == pytest.approx({"device": 1.2, "cloud": 1.0})
    assert slow.settled_s == pytest.approx(1.0 - 0.5 * (1 - 1 / 1.2))
    assert fast.settled_s == pytest.approx(1.0 + 0.5 * (1 / 0.8 - 1))
    assert slow.settled_error == pytest.approx(1 / slow.settled_s - 1)


def test_controls_are_compared_with_those_of_the_same_model_and_core() -> None:
    other = replace(controlled(ROW, 5.0, 5.0), model="large")
    entries = judged([controlled(ROW, 0.1), other])
    assert [entry.ratios["device"] for entry in entries] == pytest.approx([1.0, 1.0])


def test_the_control_s_spread_counts_every_median_once_a_core() -> None:
    shared = {node: Control("0", 0.09, 0.11) for node in ("device", "edge")}
    summary = summarized(judged([replace(ROW, controls=shared)]), [])
    assert summary.spread == pytest.approx(0.1)
    assert not summary.steady
    assert summary.mean_aim == pytest.approx(0.13)
    assert summary.worst_aim is None


def test_a_summary_counts_plans_that_cut_and_those_seen_again() -> None:
    rows = [
        ROW,
        replace(ROW, operators={"cloud": 7}, predicted_s=1.1),
        replace(ROW, again=True, predicted_s=0.7),
    ]
    summary = summarized(judged(rows), [Failed("m", "w", 1.0, 0.0, "no")])
    assert (summary.rows, summary.plans, summary.cut, summary.failed) == (3, 2, 1, 1)
    assert summary.raw.mean == pytest.approx(0.4 / 3)
    assert summary.raw.worst == pytest.approx(0.3)
    assert summary.again is not None
    assert summary.again.mean == pytest.approx(0.3)
    assert summary.coverage == 1.0
    assert summary.corrected_coverage is None


def test_what_is_missed_is_said() -> None:
    good = summarized(judged([replace(ROW, measured_s=1.0 if index else 1.2) for index in range(10)]), [])
    assert good.coverage == 0.9
    assert [text for text in good.missed if "worst" in text]
    perfect = summarized(judged([ROW] * 10), [])
    assert perfect.missed == ("intervals hold 100% of what was measured, 85% to 95% wanted",)
    silent = summarized(judged([replace(ROW, interval_s=None)]), [])
    assert "no prediction stated an interval" in silent.missed
    on_one = summarized(judged([replace(ROW, operators={"cloud": 7})]), [])
    assert any("two or more nodes" in text for text in on_one.missed)


def test_an_unsteady_machine_excuses_its_own_spread_and_no_more() -> None:
    rows = [controlled(replace(ROW, predicted_s=1.12), device_s, device_s) for device_s in (0.09, 0.11)]
    summary = summarized(judged(rows), [])
    assert summary.spread == pytest.approx(0.1)
    assert not any("mean error" in text for text in summary.missed)
    worse = summarized(judged([replace(row, predicted_s=1.15) for row in rows]), [])
    assert any("mean error 15.0%" in text for text in worse.missed)


def share(requests: int, compute_s: float, coding_s: float = 0.0) -> dict[str, Any]:
    return {
        "requests": requests,
        "compute_s": compute_s,
        "coding_s": coding_s,
        "transmit_s": 0.2,
        "waiting_s": 0.0,
        "handling_s": 0.0,
    }


def plan(per_node: dict[str, Any] | None, components: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    measured = {} if per_node is None else {"per_node": per_node}
    return {"measured": measured, "components": components or []}


def test_what_requests_took_follows_from_two_looks_at_a_plan() -> None:
    before, after = plan({"device": share(5, 2.0)}), plan({"device": share(15, 1.2), "cloud": share(10, 0.1, 0.05)})
    split, by_node = measured_split(before, after)
    assert by_node == pytest.approx({"device": 0.8, "cloud": 0.1})
    assert split.compute_s == pytest.approx(0.9)
    assert split.coding_s == pytest.approx(0.05)
    assert split.transfer_s == pytest.approx(0.4)


def test_without_counters_components_tell_of_compute_alone() -> None:
    components = [{"node": "device", "measured_s": 0.4}, {"node": "device", "measured_s": 0.1}]
    split, by_node = measured_split(plan(None), plan(None, components))
    assert (split, by_node) == (Split(compute_s=0.5), {"device": 0.5})
    components.append({"node": "cloud", "measured_s": None})
    assert measured_split(plan(None), plan(None, components)) == (Split(), {})


def test_a_timeline_gives_the_predicted_parts() -> None:
    kinds = {"compute": (0.0, 0.5), "encode": (0.5, 0.6), "transfer": (0.6, 1.0), "decode": (1.0, 1.1)}
    timeline = [{"kind": kind, "start_s": begin, "end_s": end} for kind, (begin, end) in kinds.items()]
    found = predicted_split({"timeline": timeline})
    assert (found.compute_s, found.coding_s, found.transfer_s) == pytest.approx((0.5, 0.2, 0.4))
    assert found.waiting_s == 0.0
