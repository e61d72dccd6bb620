"""Published numbers of the reference study, for the eye: other machines, another model, another code base.

Owns: the numbers and their source. Its rule: they stand beside ours and never in one computation with them but for the targets that
the project set itself. Not here: ours.

References: S. Nicosanti, talk slides, August 2025, and ICPE Companion '26, doi 10.1145/3777911.3801106 (YOLO11x-seg, 654 operators,
CPLEX, gRPC; device one core of e2-standard-4, edge one core of c3-standard-4, cloud with a T4).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "BASELINES",
    "DEPLOYMENT_S",
    "NOISE_PROFILING_S",
    "PLANNING_S",
    "PREDICTION_ERRORS",
    "R2_TEST",
    "SOURCE",
    "PublishedBaseline",
]

SOURCE = "S. Nicosanti, August 2025; ICPE Companion '26, doi 10.1145/3777911.3801106: YOLO11x-seg on other machines"


class PublishedBaseline(NamedTuple):
    """Figures of one configuration at two bounds of noise.

    Attributes:
        nodes: How many might compute.
        max_noise: Bound.
        latency_s: Measured, latency weight 1. [s]
        energy_j: Modelled, energy weight 1. [J]
    """

    nodes: int
    max_noise: float
    latency_s: float
    energy_j: float


BASELINES = (
    PublishedBaseline(1, 0.0, 5.33, 15.4),
    PublishedBaseline(1, 0.1, 3.82, 11.0),
    PublishedBaseline(2, 0.0, 3.65, 14.9),
    PublishedBaseline(2, 0.1, 2.51, 10.0),
    PublishedBaseline(3, 0.0, 1.73, 7.0),
    PublishedBaseline(3, 0.1, 1.75, 6.7),
)

PREDICTION_ERRORS = {1: (0.011, 0.015), 2: (0.052, 0.259), 3: (0.076, 0.204)}
"""Mean and worst, by number of nodes. [1]"""

PLANNING_S = {1: 3.6, 2: 7.4, 3: 22.0}
"""Median time of plan generation, by number of nodes. [s]"""

DEPLOYMENT_S = (29.0, 34.0)
NOISE_PROFILING_S = (248.0, 3700.0)
"""From YOLO11n-cls to YOLO11x-seg, on a graphics processor. [s]"""

R2_TEST = 0.9999
"""Of the interaction regressor of degree 3 on 1,000 patterns. [1]"""
