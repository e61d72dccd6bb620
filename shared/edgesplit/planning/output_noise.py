"""Output noise: mean absolute difference of a quantized run's outputs from the float model's.

Owns: what noise is: rho, the mean over outputs of mean(abs(o - o_quantized)), or a metric of the user's own. Its rule:
the controller that models noise and the agent that checks it call the same functions. Not here: running models, what a
bound means.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from edgesplit.errors import InvalidMetric, first_line
from edgesplit.late_libraries import np
from edgesplit.wire.tensors import DTYPES, Array, widened

__all__ = ["Measure", "Metric", "comparable", "load_metric", "output_noise"]

Metric = Callable[[dict[str, Array], dict[str, Array]], float]
"""A user's own measure: the float model's outputs and the noisy ones of one request, by name, to a number. 0: the same;
the larger, the worse. The arrays are read-only; it is called from several threads."""

_SAME = 1e-9
"""What a metric may be off 0 for equal outputs."""


class _Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Measure:
    """One way to compare two runs.

    Attributes:
        outputs: Those that rho is a mean over; unused with a metric.
        metric: The user's own, or None for rho.
        name: `rho`, or module:function.
    """

    outputs: tuple[str, ...]
    metric: Metric | None = None
    name: str = "rho"

    def parts(self, reference: Mapping[str, Array], noisy: Mapping[str, Array]) -> list[float]:
        """Noise of each output (one number with a metric); noise itself is their mean.

        Raises:
            InvalidMetric: The metric failed, or gave no number of 0 or more.
        """
        if self.metric is None:
            return [output_noise(reference[name], noisy[name]) for name in self.outputs]
        return [_called(self.metric, self.name, reference, noisy)]

    def noise(self, reference: Mapping[str, Array], noisy: Mapping[str, Array]) -> float:
        """Noise of one request.

        Raises:
            InvalidMetric: As `parts`.
        """
        parts = self.parts(reference, noisy)
        return float(np.mean(parts)) if parts else 0.0

    def check(self, reference: Mapping[str, Array]) -> None:
        """Make sure that equal outputs have no noise.

        Raises:
            InvalidMetric: They have.
        """
        noise = self.noise(reference, reference)
        if noise > _SAME:
            raise InvalidMetric(f"the metric {self.name} gives {noise:g} for equal outputs: let it give 0 there")


def comparable(tensors: Iterable[_Described]) -> tuple[str, ...]:
    """Names of the outputs that rho is a mean over: numbers in a fixed, non-empty shape."""
    return tuple(tensor.name for tensor in tensors if tensor.dtype in DTYPES and all(size > 0 for size in tensor.shape))


def output_noise(reference: Array, noisy: Array) -> float:
    """Mean absolute difference of one output; elements that are not finite in the reference do not count."""
    if not reference.size:
        return 0.0
    reference, noisy = widened(reference), widened(noisy)
    if reference.dtype.kind != "f":
        return float(np.abs(reference.astype(np.float64) - noisy.astype(np.float64)).mean())
    with np.errstate(invalid="ignore"):  # infinity less infinity is told apart below
        mean = float(np.abs(reference - noisy).mean())
    if np.isfinite(mean):
        return mean
    finite = np.isfinite(reference)
    return float(np.abs(reference[finite] - noisy[finite]).mean()) if finite.any() else 0.0


def load_metric(name: str, allowed: Collection[str], where: str) -> Metric:
    """Import a user's metric.

    Args:
        name: module:function.
        allowed: Those that may be imported; whoever can send a message must not choose what runs.
        where: The configuration key that lists them, for the message.

    Raises:
        InvalidMetric: It is not allowed, cannot be imported, or is no function.
    """
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise InvalidMetric(f"the metric {name!r} is not of the form module:function")
    if name not in allowed:
        known = ", ".join(sorted(allowed)) or "none"
        raise InvalidMetric(f"the metric {name} is not allowed here: add it to {where} (there now: {known})")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InvalidMetric(
            f"the metric {name} cannot be imported ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not callable(found):
        raise InvalidMetric(f"the metric {name} is no function but {type(found).__name__}")
    return cast("Metric", found)


def _called(metric: Metric, name: str, reference: Mapping[str, Array], noisy: Mapping[str, Array]) -> float:
    try:
        value = float(metric(_read_only(reference), _read_only(noisy)))
    except Exception as error:  # a user's function may raise anything
        raise InvalidMetric(
            f"the metric {name} failed on a sample ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not math.isfinite(value) or value < 0:
        raise InvalidMetric(f"the metric {name} gave {value:g}: let it give a finite number of 0 or more")
    return value


def _read_only(arrays: Mapping[str, Array]) -> dict[str, Array]:
    views = {name: array.view() for name, array in arrays.items()}
    for view in views.values():
        view.flags.writeable = False
    return views
