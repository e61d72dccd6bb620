"""Submission: what a user handed over to be taken in as a model.

Owns: the submission, and how its intake tells where it is. Its rule: values only. Not here: the intake (`intake/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Progress", "Submission"]

Progress = Callable[[str, float | None], None]
"""Told what is being done and how much of that step is done, or None where unknown."""


@dataclass(frozen=True)
class Submission:
    """What a user handed over.

    Attributes:
        file: The .onnx file.
        external: External data location, as the file names it, to file.
        calibration: The .npz, or None.
        max_quantizable: How many operators may run in int8.
        exclude: Operators that stay in float.
        metric: What noise is read as, module:function; empty for rho.
        metrics: Those that may be named (`[models] metrics`).
        shapes: Input to the shapes to plan for; empty where nothing is named.
        fixed: Whether the sizes planned for are the only ones.
    """

    name: str
    file: Path
    external: Mapping[str, Path]
    calibration: Path | None
    max_quantizable: int
    exclude: tuple[str, ...]
    metric: str = ""
    metrics: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict[str, tuple[tuple[int, ...], ...]])
    fixed: bool = False
