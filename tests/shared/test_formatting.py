"""Quantities as people read them."""

from __future__ import annotations

import pytest

from edgesplit.formatting import UNKNOWN, between, joules, number, time_span


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (between(0.412, (0.398, 0.431), time_span), "412 ms (398 to 431)"),
        (between(0.99, (0.97, 1.03), time_span), "990 ms (970 ms to 1.03 s)"),
        (between(3.83, (3.71, 3.97), joules), "3.83 J (3.71 to 3.97)"),
        (between(0.0, (0.0, 0.0), joules), "0 J (0 to 0)"),
        (between(0.412, None, time_span), "412 ms"),
        (between(None, (1.0, 2.0), time_span), UNKNOWN),
        (between(0.08, (-0.03, 0.19), number), "0.08 (-0.03 to 0.19)"),
    ],
)
def test_an_interval_stands_beside_its_value_with_one_unit(text: str, shown: str) -> None:
    assert text == shown
