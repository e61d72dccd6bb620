"""int8 under a bound, on real inputs that the noise model never saw: of chosen operators, and of what a plan serves.

Owns: the bound, choosing operators under it, measuring their noise, and asking a live plan under the same bound. Its rule: one rule
for the bound of every model, made of what `model show` says; record and noise model are the controller's own, and answers are
held against onnxruntime on the file as it was shipped. Not here: the rest of the course.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.shipped_models.sizes import PlainModel
from demo.fleet import LocalFleet
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.noise_messages import exceeds
from edgesplit.operations.model_operations import NoiseModelDocument
from edgesplit.planning.output_noise import Measure
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.runner import open_session, run_session
from edgesplit_controller.models.model_record import ModelRecord, read_record
from edgesplit_controller.quantization.noise.pattern_runs import measure_for
from edgesplit_controller.quantization.qdq import quantize

__all__ = ["InputNoise", "Int8Finding", "ServedInt8", "int8_on_real_inputs", "serve_int8"]

TRIES = 3
"""Of a plan in int8: on a busy machine a profile may say that it does not pay, or another plan may take over while it is asked."""
DEADLINE_S = 60.0


@dataclass(frozen=True)
class InputNoise:
    """Noise of inputs, beside its bound.

    Attributes:
        bound: What noise was to stay below. [1]
        predicted: By the controller. [1]
        mean: Over the inputs. [1]
        deviation: Between them. [1]
        inputs: How many.
    """

    bound: float
    predicted: float
    mean: float
    deviation: float
    inputs: int

    @property
    def breaks(self) -> bool:
        """Whether it is proven to break the bound (99 %, one-sided), as of served requests."""
        return exceeds(self.inputs, self.mean, self.deviation, self.bound)

    @property
    def text(self) -> str:
        """For people."""
        verdict = "" if self.mean <= self.bound else " BROKEN" if self.breaks else " above, within chance"
        error = self.deviation / math.sqrt(self.inputs)
        return f"{self.mean:.2g} ± {error:.1g} of {self.bound:.2g}{verdict}"


@dataclass(frozen=True)
class ServedInt8:
    """A plan over several nodes that runs in int8, and what its answers were.

    Attributes:
        operators: That the plan runs in int8.
        nodes: That hold components.
        noise: Of answers against the file as shipped.
        why_not: Why nothing was served in int8; empty where something was.
    """

    operators: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    noise: InputNoise | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Int8Finding:
    """What int8 does on real inputs.

    Attributes:
        operators: That ran in int8, of so many candidates.
        noise: Of them.
        why_not: Why nothing ran in int8; empty where something did.
    """

    operators: int = 0
    candidates: int = 0
    noise: InputNoise | None = None
    why_not: str = ""


def int8_on_real_inputs(store: Path, model: str, samples: Sequence[dict[str, Any]]) -> Int8Finding:
    """Measure the noise of as many operators in int8 as the bound admits.

    Args:
        store: The controller's folder.
        model: Name of the model.
        samples: Real inputs, at the planning shape.
    """
    record = read_record(store / "models" / model)
    if record is None:
        return Int8Finding(why_not="the model is not in the store")
    names = record.manifest.quantizable
    if not names:
        said = next((text for text in record.manifest.warnings if "int8" in text), "no operator has an int8 form")
        return Int8Finding(why_not=said)
    bound = _bound(record.manifest.noise_report)
    chosen: list[str] = []
    for name in sorted(names, key=lambda name: _predicted(record, (name,))):
        if _predicted(record, (*chosen, name)) <= bound:
            chosen.append(name)
    if not chosen:
        return Int8Finding(candidates=len(names), why_not=f"no operator alone keeps {bound:.3g}")
    blobs = BlobStore(store / "blobs")
    quantized = quantize(record.graph, blobs, chosen, record.manifest.ranges)
    outputs, measure = record.graph.outputs, measure_for(record.graph)
    plain, noisy = open_session(record.graph.proto, blobs), open_session(quantized.proto, blobs)
    noise = [
        measure.noise(run_session(plain, outputs, sample), run_session(noisy, outputs, sample)) for sample in samples
    ]
    return Int8Finding(len(chosen), len(names), _found(bound, _predicted(record, chosen), noise))


def serve_int8(
    fleet: LocalFleet, node: str, model: str, plain: PlainModel, samples: Sequence[dict[str, Any]]
) -> ServedInt8:
    """Bound the noise of a deployed model, have it planned, and hold what it answers against the file.

    Args:
        fleet: Where it is deployed.
        node: Its source.
        model: Its name.
        plain: The file as shipped.
        samples: Real inputs, at the planning shape.
    """
    report = msgspec.convert(fleet.splitctl("model", "show", model)["noise_model"], NoiseModelDocument)
    if report.r2_test is None:
        return ServedInt8(why_not="no operator has an int8 form")
    bound = _bound(report)
    why_not = ""
    for _ in range(TRIES):
        fleet.splitctl("set-weights", "--latency", "1", "--max-noise", str(bound), "--model", model)
        plan = fleet.splitctl("plan", model)
        if not plan["quantized"]:
            why_not = "int8 pays on none of these nodes"
            fleet.splitctl("model", "profile", model)
            continue
        noise = asyncio.run(_asked(fleet.address(node), model, plain, samples))
        if (then := fleet.splitctl("plan", model))["epoch"] == plan["epoch"]:
            nodes = tuple(name for name, share in plan["per_node"].items() if share["components"])
            return ServedInt8(tuple(plan["quantized"]), nodes, _found(bound, plan["noise"], noise))
        why_not = f"plan {plan['epoch']} gave way to {then['epoch']} while it was asked ({then['reason']})"
    return ServedInt8(why_not=why_not)


async def _asked(address: str, model: str, plain: PlainModel, samples: Sequence[dict[str, Any]]) -> list[float]:
    measure = Measure(plain.outputs)
    async with AsyncClient(address) as client:
        return [
            measure.noise(plain.run(sample), await client.infer(model, sample, deadline_s=DEADLINE_S))
            for sample in samples
        ]


def _bound(report: NoiseModelDocument) -> float:
    """Midway between the least bound that admits any operator and the noise of all of them, for the inputs to come. [1]"""
    return max(report.least_noise, (report.least_noise + report.sampling * report.full_noise) / 2)


def _found(bound: float, predicted: float, noise: Sequence[float]) -> InputNoise:
    return InputNoise(bound, predicted, float(np.mean(noise)), float(np.std(noise, ddof=1)), len(noise))


def _predicted(record: ModelRecord, names: Sequence[str]) -> float:
    """What the noise model says of these operators in int8."""
    noise, chosen = record.manifest.noise, set(names)
    level = noise.intercept + sum(term.coefficient for term in noise.terms if chosen.issuperset(term.operators))
    return level if noise.curve is None else float(noise.curve.at(Fraction(level)))
