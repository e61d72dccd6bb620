"""Estimate of a directed link, as a value: bandwidth, latency, and how sure they are.

Owns: that value. Not here: how it is found (`link_estimator.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LinkEstimate"]


@dataclass(frozen=True)
class LinkEstimate:
    """What is believed of a link.

    Attributes:
        bandwidth_bytes_per_s: [B/s]
        latency_s: One way. [s]
        at: The clock at the last sample. [s]
        scatter: Standard deviation of one measurement of the bandwidth, relative. [1]
        error: Standard error of the bandwidth, relative. [1]
        latency_error_s: Of the latency: how far pings lie above the least of them, one way. [s]
    """

    bandwidth_bytes_per_s: float
    latency_s: float
    at: float
    scatter: float = 0.0
    error: float = 0.0
    latency_error_s: float = 0.0
