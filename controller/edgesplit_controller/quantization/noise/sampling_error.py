"""Sampling error of measured noise: how far the mean over all inputs may be above the mean over the samples.

Owns: the factor that a noise model's bounds carry for it. Its rule: samples are a draw of the inputs to come, and a bound speaks of
the mean over those; how sure it is meant to be, the check of served requests is, too. Not here: what patterns leave uncertain
(`noise_model.conservative`, `single_index`).

A sample that is noisy under one pattern is noisy under most, so that means of a few samples are off together: one factor
serves all patterns. It is the upper confidence bound of a mean (Student's t) over the mean itself. Noise of samples is skewed, for
which t promises more than it keeps: of 99 % some 95 % are left, and 85 to 90 % where one input of twenty has nearly all of the noise.
"""

from __future__ import annotations

import numpy as np

from edgesplit.control.noise_messages import greatest_mean
from edgesplit_controller.quantization.noise.pattern_runs import Measured

__all__ = ["sampling_factor"]

_PATTERNS = 0.75
"""Share of patterns whose noise differs between samples at most as the factor says: quiet ones tend to differ most."""


def sampling_factor(measured: Measured) -> float:
    """What noise is multiplied by for the mean of samples to bound that of all inputs; 1 where a single sample tells nothing.

    References: G. J. Hahn, W. Q. Meeker, Statistical Intervals, 1991, chapter 4 (confidence bound of a mean).
    """
    noisy = measured.rho > 0
    if measured.samples < 2 or not noisy.any():
        return 1.0
    relative = measured.deviations[noisy] / measured.rho[noisy]
    return greatest_mean(measured.samples, 1.0, float(np.quantile(relative, _PATTERNS)))
