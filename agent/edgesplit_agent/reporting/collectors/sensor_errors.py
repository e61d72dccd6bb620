"""Errors of sensors, which their readers catch: a sensor that fails is a labelled fallback, never a crash."""

from __future__ import annotations

__all__ = ["SensorForbidden", "SensorUnavailable"]


class SensorUnavailable(Exception):
    """A sensor cannot be read on this machine now; the message says why."""


class SensorForbidden(SensorUnavailable):
    """It is there, but the agent's user may not read it."""
