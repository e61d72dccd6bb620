"""Control-plane messages about the noise of served requests, and when it breaks its bound.

Owns: what a source is asked to check, what it found, and the rule that both sides judge it by. Its rule: that of
`control/messages.py`, a released message is never changed. Not here: comparing outputs (`planning/output_noise.py`), checking (agents), what a
breach leads to (the controller).

A noise bound speaks of a mean over requests, so a breach is a statement about a mean: at least three checked requests,
and the one-sided 99 % lower confidence bound of their mean (Student's t) above the bound. One outlier does not do
that; noise well above the bound on every request does it after three. 99 % because a verdict is for good: it costs
speed until the model is added anew.
"""

from __future__ import annotations

import math

from edgesplit.control.messages import Message
from edgesplit.control.plan_messages import DESIRED
from edgesplit.mqtt.topic import SMALL_BYTES, Topic

__all__ = [
    "LEAST_CHECKED",
    "MOST_IN_DOUBT",
    "NOISE_REPORT",
    "NoiseReport",
    "exceeds",
    "greatest_mean",
    "in_doubt",
    "least_mean",
]

LEAST_CHECKED = 3
"""Fewer requests decide nothing."""
MOST_IN_DOUBT = 30
"""Checks, of one epoch, up to which a mean above the bound has the next request checked at once."""
# Quantiles of Student's t for 99 %, one-sided, by degrees of freedom from 1 on (any table of the t distribution, e.g.
# NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2); beyond the last the last, which errs on the safe side.
_STUDENT_99 = (
    *(31.821, 6.965, 4.541, 3.747, 3.365, 3.143, 2.998, 2.896, 2.821, 2.764),
    *(2.718, 2.681, 2.650, 2.624, 2.602, 2.583, 2.567, 2.552, 2.539, 2.528),
    *(2.518, 2.508, 2.500, 2.492, 2.485, 2.479, 2.473, 2.467, 2.462, 2.457),
)


class NoiseReport(Message, frozen=True, kw_only=True):
    """Noise of served requests of one epoch, measured at the source against the float model.

    Attributes:
        node: Who says this.
        instance: Of its registration.
        model: Of which model.
        epoch: Whose requests were checked.
        samples: Checked requests; the figures are None without one.
        mean: Mean of their noise. [1]
        deviation: Sample standard deviation; 0 of a single one. [1]
        max: The largest. [1]
        last: The latest. [1]
        dropped: Requests chosen but given up, for the node had no time for them or the float model failed.
        measure: What the figures are: `rho`, or the module:function of a user's metric.
        detail: Why nothing can be checked, or why the figures are rho though the bound speaks of a metric; else empty.
    """

    node: str
    instance: str
    model: str
    epoch: int
    samples: int
    mean: float | None = None
    deviation: float = 0.0
    max: float | None = None
    last: float | None = None
    dropped: int = 0
    measure: str = "rho"
    detail: str = ""


NOISE_REPORT = Topic(
    "nodes/{node}/noise/{model}",
    NoiseReport,
    says="noise that a source measured on requests it served",
    writers=("agent",),
    readers=("controller", "agent"),
    retained=True,
    lives_with=DESIRED,
    cleared="and nothing of the model is held any more",
    defended=True,
    signed=frozenset({"mean", "max", "last"}),  # a user's own metric may be anything
    limit_bytes=SMALL_BYTES,
)


def least_mean(samples: int, mean: float, deviation: float) -> float:
    """Lower 99 % confidence bound of the mean noise, one-sided.

    Args:
        samples: At least 2.
        mean: Of the samples.
        deviation: Their sample standard deviation.
    """
    return mean - _half_width(samples, deviation)


def greatest_mean(samples: int, mean: float, deviation: float) -> float:
    """Upper 99 % confidence bound of the mean noise, one-sided; as `least_mean`."""
    return mean + _half_width(samples, deviation)


def exceeds(samples: int, mean: float | None, deviation: float, bound: float | None) -> bool:
    """Whether checked requests show that the mean noise is above the bound."""
    if mean is None or bound is None or samples < LEAST_CHECKED:
        return False
    return least_mean(samples, mean, deviation) > bound


def _half_width(samples: int, deviation: float) -> float:
    return _STUDENT_99[min(samples - 1, len(_STUDENT_99)) - 1] * deviation / math.sqrt(samples)


def in_doubt(samples: int, mean: float | None, bound: float | None) -> bool:
    """Whether the mean is above the bound, so that more requests should be checked soon."""
    return mean is not None and bound is not None and mean > bound and samples < MOST_IN_DOUBT
