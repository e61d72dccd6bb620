"""int8 under a bound, on real inputs that the noise model never saw.

Owns: choosing operators whose predicted noise keeps half of the noise of all, and measuring it. Its rule: the record and the
noise model are the controller's own, read from its store once it has ended. Not here: whether int8 pays on a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.runner import open_session, run_session
from edgesplit_controller.models.model_record import ModelRecord, read_record
from edgesplit_controller.quantization.noise.pattern_runs import measure_for
from edgesplit_controller.quantization.qdq import quantize

__all__ = ["Int8Finding", "int8_on_real_inputs"]

SURE = 2.6
"""Standard errors of a mean of sixteen that 99 % lie within, on one side (Student's t)."""
SHARE = 0.5
"""Of the predicted noise of everything quantized."""


@dataclass(frozen=True)
class Int8Finding:
    """What int8 does on real inputs.

    Attributes:
        operators: That ran in int8, of so many candidates.
        bound: That their predicted noise keeps. [1]
        measured: Mean noise over the inputs. [1]
        error: Its standard error. [1]
        why_not: Why nothing ran in int8; empty where something did.
    """

    operators: int = 0
    candidates: int = 0
    bound: float = 0.0
    measured: float = 0.0
    error: float = 0.0
    why_not: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the bound is not proven broken (99 %, one-sided, as of served requests), or nothing could break one."""
        return bool(self.why_not) or self.measured - SURE * self.error <= self.bound


def int8_on_real_inputs(store: Path, model: str, samples: Sequence[dict[str, Any]]) -> Int8Finding:
    """Measure the noise of as many operators in int8 as half of the noise of all admits.

    Args:
        store: The controller's folder.
        model: Name of the model.
        samples: Real inputs, at the planning shape.
    """
    record = read_record(store / "models" / model)
    if record is None:
        return Int8Finding(why_not="the model is not in the store")
    names = record.manifest.quantizable
    if not names or record.manifest.noise is None:
        said = next((text for text in record.manifest.warnings if "int8" in text), "no operator has an int8 form")
        return Int8Finding(why_not=said)
    bound = SHARE * _predicted(record, names)
    chosen: list[str] = []
    for name in sorted(names, key=lambda name: _predicted(record, (name,))):
        if _predicted(record, (*chosen, name)) <= bound:
            chosen.append(name)
    if not chosen:
        return Int8Finding(candidates=len(names), why_not=f"no operator alone keeps half of {2 * bound:.3g}")
    blobs = BlobStore(store / "blobs")
    quantized = quantize(record.graph, blobs, chosen, record.manifest.ranges)
    outputs, measure = record.graph.outputs, measure_for(record.graph)
    plain, noisy = open_session(record.graph.proto, blobs), open_session(quantized.proto, blobs)
    noise = [
        measure.noise(run_session(plain, outputs, sample), run_session(noisy, outputs, sample)) for sample in samples
    ]
    error = float(np.std(noise, ddof=1) / np.sqrt(len(noise)))
    return Int8Finding(len(chosen), len(names), bound, float(np.mean(noise)), error)


def _predicted(record: ModelRecord, names: Sequence[str]) -> float:
    """What the noise model says of these operators in int8."""
    noise, chosen = record.manifest.noise, set(names)
    if noise is None or not chosen:
        return 0.0
    level = noise.intercept + sum(term.coefficient for term in noise.terms if chosen.issuperset(term.operators))
    return level if noise.curve is None else float(noise.curve.at(Fraction(level)))
