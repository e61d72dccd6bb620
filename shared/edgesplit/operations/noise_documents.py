"""What splitctl prints about noise: how it is modelled, what was measured, and what followed.

Owns: these parts of the controller's documents. Its rule: that of `documents.py`, a key is never renamed. Not here:
what agents report (`control/noise_messages.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["MeasuredNoise", "NoiseModelDocument", "TighteningDocument"]


class NoiseModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How well the noise regressor fits. R2 are None without candidates.

    Attributes:
        degree: Of the interaction polynomial.
        r2_train: Coefficient of determination on what it was fitted to. [1]
        r2_test: The same on patterns held out. [1]
        seconds: Time the modelling took. [s]
        patterns: Sets of quantized operators that were measured.
        full_noise: Measured noise with every candidate quantized. [1]
        margin: In the intercept, so that measured noise stays below the prediction for about 99 % of patterns. [1]
        metric: What noise is: `rho`, or the user's module:function.
    """

    degree: int
    r2_train: float | None
    r2_test: float | None
    seconds: float
    patterns: int = 0
    full_noise: float = 0.0
    margin: float = 0.0
    metric: str = "rho"


class TighteningDocument(msgspec.Struct, frozen=True, kw_only=True):
    """That a model's noise model proved wrong on served requests and predicts more since.

    Attributes:
        factor: On everything the noise model predicts. [1]
        float_only: The noise model is not believed any more: under a bound only float is planned.
        epoch: The last that exceeded its bound; the other figures are of it.
        samples: Checked requests.
        predicted: Noise of its plan under the noise model as it was then. [1]
        measured: Their mean noise. [1]
        bound: That it exceeded. [1]
        at_unix_s: When that was found. [s since the epoch]
    """

    factor: float
    float_only: bool
    epoch: int
    samples: int
    predicted: float
    measured: float
    bound: float
    at_unix_s: float


class MeasuredNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Noise of the epoch's requests that were checked against the float model; figures are None without one.

    Attributes:
        samples: Checked requests.
        mean: Of their noise. [1]
        max: The largest. [1]
        last: The latest. [1]
        deviation: Their sample standard deviation. [1]
        measure: What noise is here: `rho`, or the user's module:function.
        exceeds: The mean is above the bound with 99 % confidence.
        note: Why nothing is checked, or why the figures are not what the bound speaks of; else empty.
    """

    samples: int = 0
    mean: float | None = None
    max: float | None = None
    last: float | None = None
    deviation: float | None = None
    measure: str = "rho"
    exceeds: bool = False
    note: str = ""
