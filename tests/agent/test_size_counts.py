"""The most frequent sizes of requests are known in bounded memory."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.figure_messages import AskedSizes
from edgesplit_agent.reporting.size_counts import MOST, SizeCounts


def test_counts_are_exact_while_few_sizes_are_asked() -> None:
    counts = SizeCounts()
    for side in (3, 5, 3, 4, 3, 5):
        counts.add({"x": (1, side), "mask": (side,)})
    assert counts.said() == tuple(
        AskedSizes(inputs={"x": (1, side), "mask": (side,)}, requests=requests)
        for side, requests in ((3, 3), (5, 2), (4, 1))
    )


@given(st.lists(st.integers(0, 3 * MOST), max_size=400))
def test_what_is_asked_often_is_never_missing_and_never_counted_too_low(asked: list[int]) -> None:
    counts, true = SizeCounts(), Counter(asked)
    for side in asked:
        counts.add({"x": (side,)})
    said = {entry.inputs["x"][0]: entry.requests for entry in counts.said()}
    assert len(said) <= MOST
    assert sum(said.values()) == len(asked)
    for side, requests in true.items():
        assert said.get(side, len(asked)) >= requests
        assert side in said or requests <= len(asked) / MOST


def test_names_without_end_do_not_fill_messages() -> None:
    counts = SizeCounts()
    for side in range(MOST):
        counts.add({f"{'x' * 1000}{number}": (side,) for number in range(16)})
    assert 1 <= len(counts.said()) <= 2
