"""Tightening of a noise model that proved wrong on served requests.

Owns: how much, and a problem under it. Its rule: pure; a tightened model makes the plan that broke its bound infeasible, and
tightening it again and again ends at float. Not here: whether a bound is broken (`rollout/noise_checks.py`), events and
planning (`deciding/noise_guard.py`).

A noise model is tightened by one factor on everything it predicts, codecs included: what was measured over what was
predicted. It says less than a new model fitted to the served inputs would, but it needs nothing but the checks, keeps
the order of the plans by noise, and errs on the safe side where only some of the operators are to blame.
"""

from __future__ import annotations

import msgspec

from edgesplit.control.noise_messages import NoiseReport
from edgesplit.planning.problem import NoiseModel, Problem, Tensor
from edgesplit_controller.storage.deployment_state import Tightening

__all__ = ["tightened", "tightening_after"]

MOST_BREACHES = 4
"""After as many breaches of one model version its noise model is not believed any more."""
LARGEST_FACTOR = 1e6
"""Beyond it figures would leave the planner's range, and no int8 operator would be left anyway."""
LEAST_STEP = 1.01
"""A breach by less is counted as one by this much, so that the plan is infeasible afterwards whatever rounding does."""


def tightening_after(
    before: Tightening | None, report: NoiseReport, *, predicted: float, bound: float, at_unix_s: float
) -> Tightening:
    """How the noise model is tightened after a breach.

    Args:
        before: How it was.
        report: What was measured; it exceeds the bound.
        predicted: Noise of the plan under the model as tightened before.
        bound: That the plan broke.
        at_unix_s: Now. [s since the epoch]
    """
    factor, breaches = (before.factor, before.breaches) if before is not None else (1.0, 0)
    measured = report.mean or 0.0
    # The planner allows a billionth beyond the bound. What is predicted to be no noise at all no factor makes any.
    step = max(measured, LEAST_STEP * bound + 1e-8) / predicted if predicted > 0 else 2 * LARGEST_FACTOR
    factor *= max(step, 1.0)
    return Tightening(
        factor=min(factor, LARGEST_FACTOR),
        float_only=breaches + 1 >= MOST_BREACHES or factor > LARGEST_FACTOR,
        breaches=breaches + 1,
        epoch=report.epoch,
        samples=report.samples,
        predicted=predicted,
        measured=measured,
        bound=bound,
        at_unix_s=at_unix_s,
    )


def tightened(problem: Problem, tightening: Tightening | None) -> Problem:
    """A problem under the tightened noise model."""
    if tightening is None:
        return problem
    factor, model = tightening.factor, problem.noise_model
    if model is not None and model.curve is not None:
        model = msgspec.structs.replace(model, curve=model.curve.louder(factor))
    elif model is not None:
        terms = tuple(msgspec.structs.replace(term, coefficient=factor * term.coefficient) for term in model.terms)
        model = NoiseModel(intercept=factor * model.intercept, terms=terms)
    constraints = problem.constraints
    if tightening.float_only and constraints.max_noise is not None:
        constraints = msgspec.structs.replace(constraints, max_noise=0.0)
    return msgspec.structs.replace(
        problem, noise_model=model, tensors=_noisier(problem.tensors, factor), constraints=constraints
    )


def _noisier(tensors: tuple[Tensor, ...], factor: float) -> tuple[Tensor, ...]:
    return tuple(
        msgspec.structs.replace(
            tensor,
            codecs=tuple(msgspec.structs.replace(codec, noise=factor * codec.noise) for codec in tensor.codecs),
        )
        if tensor.codecs
        else tensor
        for tensor in tensors
    )
