"""Noise regressors of both degrees, told apart by what was held out."""

from __future__ import annotations

import numpy as np

from edgesplit_controller.quantization.noise.pattern_runs import Measured
from lab.running.noise_facts import fits_of


def measured(candidates: int) -> Measured:
    """Every pattern of some candidates, whose noise adds in squares."""
    bits = (np.arange(1, 1 << candidates)[:, np.newaxis] >> np.arange(candidates) & 1).astype(np.bool_)
    noise = np.sqrt((bits * np.arange(1, candidates + 1) ** 2).sum(axis=1))[:, np.newaxis]
    held_out = np.arange(len(bits)) % 5 == 4
    return Measured(bits=bits, noise=noise, held_out=held_out, samples=4, deviations=np.zeros(len(bits)))


def test_the_higher_degree_fits_better_and_says_what_was_held_out() -> None:
    second, third = fits_of(measured(8))
    assert (second.degree, third.degree) == (2, 3)
    assert second.r2_test is not None
    assert third.r2_test is not None
    assert 0.9 < second.r2_test < third.r2_test
    assert len(third.measured) == len(third.predicted) == len(third.held_out) == 255
    assert sum(third.held_out) == 51
    assert np.abs(np.subtract(third.predicted, third.measured)).mean() < 0.05 * np.mean(third.measured)


def test_a_degree_that_cannot_be_told_is_left_out() -> None:
    assert [fit.degree for fit in fits_of(measured(4))] == [2]
