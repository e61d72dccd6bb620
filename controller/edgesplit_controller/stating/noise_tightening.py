"""What follows from the noise that sources measured on served requests.

Owns: what a source is asked to check, and the tightening of a noise model that proved wrong. Its rule: pure; a tightened
model makes the plan that broke its bound infeasible, and tightening it again and again ends at float. Not here: the
rule that judges the figures (`edgesplit.control.noise_messages`), events and planning (`deciding/noise_guard.py`).

A noise model is tightened by one factor on everything it predicts, codecs included: what was measured over what was
predicted. It says less than a new model fitted to the served inputs would, but it needs nothing but the checks, keeps
the order of the plans by noise, and errs on the safe side where only some of the operators are to blame.
"""

from __future__ import annotations

import msgspec

from edgesplit.control.noise_messages import NoiseReport
from edgesplit.control.plan_messages import Shadowing
from edgesplit.planning.problem import NoiseModel, Problem, Tensor
from edgesplit_controller.storage.deployment_state import PlanRecord, Tightening

__all__ = ["shadowing", "tightened", "tightening_after", "unchecked_bound", "why_unchecked"]

MOST_BREACHES = 4
"""After as many breaches of one model version its noise model is not believed any more."""
LARGEST_FACTOR = 1e6
"""Beyond it figures would leave the planner's range, and no int8 operator would be left anyway."""
LEAST_STEP = 1.01
"""A breach by less is counted as one by this much, so that the plan is infeasible afterwards whatever rounding does."""


def shadowing(plan: PlanRecord, *, requests: int, every_s: float, metric: str) -> Shadowing | None:
    """What the source of a plan is asked to check, None where there is nothing to.

    Args:
        plan: What serves.
        requests: The first ones of an epoch.
        every_s: After them one in this time; 0 for none. [s]
        metric: What the model's noise is: module:function, or `rho`.
    """
    if not _is_noisy(plan) or (requests <= 0 and every_s <= 0):
        return None
    metric = "" if metric == "rho" else metric
    return Shadowing(requests=requests, every_s=every_s, bound=plan.goals.max_noise, metric=metric)


def why_unchecked(plan: PlanRecord, report: NoiseReport | None, *, wanted: bool, prepared: bool) -> str:
    """Why the noise of a plan is not (or not rightly) measured, in one sentence; empty where it is.

    Args:
        plan: What serves.
        report: Of its source and epoch.
        wanted: Whether checks are configured.
        prepared: Whether the source has the float model ready.
    """
    if not _is_noisy(plan):
        return "nothing in the plan adds noise, so there is nothing to check"
    if report is not None and report.samples > 0:
        return report.detail
    obstacle = _obstacle(plan, wanted=wanted, prepared=prepared) or (report.detail if report is not None else "")
    if obstacle:
        return f"noise is not checked: {obstacle}"
    dropped = report is not None and report.dropped > 0
    why = f"{plan.plan.source} had no time for it" if dropped else "no request was answered that could be"
    return f"noise is not checked yet: {why}"


def unchecked_bound(model: str, plan: PlanRecord, *, wanted: bool) -> str:
    """Why a bound on noise will not be checked on what is served, in one sentence; empty where it will, or is none.

    Args:
        model: Its name.
        plan: What serves.
        wanted: Whether its source is asked to check.
    """
    bound = plan.goals.max_noise
    if bound is None or not _is_noisy(plan):
        return ""
    obstacle = _obstacle(plan, wanted=wanted, prepared=True)
    return obstacle and f"the noise of {model} is not checked against its bound {bound:g}, only predicted: {obstacle}"


def _obstacle(plan: PlanRecord, *, wanted: bool, prepared: bool) -> str:
    source = plan.plan.source
    if not wanted:
        return "[planning] shadow_requests and shadow_every_s are 0"
    if plan.plan.local_fallback is None:
        pinned = any(source not in nodes for nodes in (plan.problem.constraints.pins or {}).values())
        why = "pins keep operators off it" if pinned else "it has no memory for it"
        return f"{source} does not hold the float model, for {why}"
    return "" if prepared else f"the float model is not ready on {source}"


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
    if model is not None:
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


def _is_noisy(plan: PlanRecord) -> bool:
    return bool(plan.assignment.quantized) or plan.evaluation.noise > 0
