"""Observations of speed: what an estimate of one node and one model is made of.

Owns: these values, and their form as lines of JSON: a recording of them can be estimated from again. Its rule: values only;
facts with their samples, nothing that follows from them; a key may be added, never renamed. Not here: estimating
(`speed_estimate.py`), what nodes say and how it becomes an observation (`fleet/node_speeds.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "CodingRan",
    "Observation",
    "PartRan",
    "PartsRan",
    "ProfileSeen",
    "SpeedObservation",
    "TensorsCoded",
    "WholeRan",
]


class Observation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Something seen of a node and a model.

    Attributes:
        at_s: On the controller's monotonic clock. [s]
        node: Where.
        model: Of which model; where nothing else is said, both together.
    """

    at_s: float
    node: str
    model: str


class ProfileSeen(Observation, frozen=True, kw_only=True, tag="profile"):
    """A new execution profile: everything begins anew.

    Attributes:
        whole_s: The whole model, run in a row. [s]
        rested_s: The same after pauses; 0 where not measured. [s]
        whole_spread: Standard deviation of the whole's time from one moment to another, relative; 0 where not known. [1]
        moments: How many moments `whole_s` stands on; 0 where not known.
        rested_spread: Standard error of rested_s / whole_s; 0 where not known. [1]
        slow_down: Emulated slowness within the times. [1]
        host_spread: By how much the node's machine is faster or slower from one moment to another, as a fixed small workload
            shows; 0 where not known. [1]
        quick: Only the whole was timed, at one moment; its units share it by their operations.
    """

    whole_s: float
    rested_s: float = 0.0
    whole_spread: float = 0.0
    moments: int = 0
    rested_spread: float = 0.0
    slow_down: float = 1.0
    host_spread: float = 0.0
    quick: bool = False


class PartRan(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one component, beside what the profile says of it.

    Attributes:
        key: Equal for equal components.
        float_s: Of its units in float, by the profile. [s]
        int8_s: Of its units in int8, by the profile. [s]
        samples: What each of its new runs took, the latest last. [s]
        runs: How many runs they stand for, where an agent only says a mean; 0: each for itself.
    """

    key: str
    float_s: float
    int8_s: float
    samples: tuple[float, ...]
    runs: int = 0

    @property
    def profiled_s(self) -> float:
        """Of all its units. [s]"""
        return self.float_s + self.int8_s


class PartsRan(Observation, frozen=True, kw_only=True, tag="parts"):
    """Components that ran since the last report."""

    parts: tuple[PartRan, ...]


class WholeRan(Observation, frozen=True, kw_only=True, tag="whole"):
    """The whole model in float, timed again while nothing of it was served.

    Attributes:
        profiled_s: What the profile says of it. [s]
        samples: What each run took. [s]
        runs: As of `PartRan`.
    """

    profiled_s: float
    samples: tuple[float, ...]
    runs: int = 0


class CodingRan(msgspec.Struct, frozen=True, kw_only=True):
    """Codings of one tensor, beside what the profile says of them.

    Attributes:
        tensor: Its name.
        codec: How it travels.
        direction: Coded by its sender, or restored by its receiver.
        profiled_s: Of one coding, by the profile. [s]
        samples: What each took. [s]
    """

    tensor: str
    codec: str
    direction: Literal["encode", "decode"]
    profiled_s: float
    samples: tuple[float, ...]


class TensorsCoded(Observation, frozen=True, kw_only=True, tag="codings"):
    """Tensors that were coded since the last report."""

    codings: tuple[CodingRan, ...]


SpeedObservation = ProfileSeen | PartsRan | WholeRan | TensorsCoded
