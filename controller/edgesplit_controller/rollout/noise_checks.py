"""Checks of a plan's noise on served requests: what is asked for, whether it can be, and when a bound is broken.

Owns: these three. Its rule: pure; the one place that says that a plan breaks its bound, by the statistics that agents know
too (`edgesplit.control.noise_messages`). Not here: what follows from a breach (`deciding/noise_guard.py`,
`stating/noise_tightening.py`), checking (agents).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgesplit.control.noise_messages import NoiseReport, exceeds
from edgesplit.control.plan_messages import Shadowing
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["RHO", "breaks_bound", "refused_int8", "shadowing", "shadowing_of", "unchecked_bound", "why_unchecked"]

RHO = "rho"
"""The measure of noise where the user named none."""


def shadowing_of(
    models: Mapping[str, ModelRecord], settings: PlanningSection
) -> Callable[[str, PlanRecord], Shadowing | None]:
    """What the source of a model's plan is asked to check."""

    def asked(model: str, plan: PlanRecord) -> Shadowing | None:
        record = models.get(model)
        metric = record.manifest.noise_report.metric if record is not None else RHO
        return shadowing(plan, requests=settings.shadow_requests, every_s=settings.shadow_every_s, metric=metric)

    return asked


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
    return Shadowing(
        requests=requests, every_s=every_s, bound=plan.goals.max_noise, metric="" if metric == RHO else metric
    )


def why_unchecked(plan: PlanRecord, report: NoiseReport | None, *, asked: bool, prepared: bool) -> str:
    """Why the noise of a plan is not (or not rightly) measured, in one sentence; empty where it is.

    Args:
        plan: What serves.
        report: Of its source and epoch.
        asked: Whether checks are configured.
        prepared: Whether the source has the float model ready.
    """
    if not _is_noisy(plan):
        return "nothing in the plan adds noise, so there is nothing to check"
    if report is not None and report.samples > 0:
        return report.detail
    obstacle = _obstacle(plan, asked=asked, prepared=prepared) or (report.detail if report is not None else "")
    if obstacle:
        return f"noise is not checked: {obstacle}"
    dropped = report is not None and report.dropped > 0
    why = f"{plan.epoch.source} had no time for it" if dropped else "no request was answered that could be"
    return f"noise is not checked yet: {why}"


def unchecked_bound(model: str, plan: PlanRecord, *, asked: bool) -> str:
    """Why a bound on noise will not be checked on what is served, in one sentence; empty where it will, or is none.

    Args:
        model: Its name.
        plan: What serves.
        asked: Whether its source is asked to check.
    """
    bound = plan.goals.max_noise
    if bound is None or not _is_noisy(plan):
        return ""
    obstacle = _obstacle(plan, asked=asked, prepared=True)
    return obstacle and f"the noise of {model} is not checked against its bound {bound:g}, only predicted: {obstacle}"


def refused_int8(record: ModelRecord, bound: float | None, *, factor: float = 1.0) -> str:
    """Why no operator of a model can run in int8 under a bound on noise, in one sentence; empty where one may.

    Args:
        record: Of the model.
        bound: On its noise; 0 asks for float and is no surprise.
        factor: By which its noise model is tightened.
    """
    manifest = record.manifest
    report, least = manifest.noise_report, factor * manifest.noise_report.least_noise
    if not manifest.quantizable or not bound or bound >= least:
        return ""
    fit = f"R² {report.r2_test:.2f}" if report.r2_test is not None else "no fit"
    return (
        f"int8 is not offered to {record.name} because its bound on noise, {bound:g}, is below the least that is predicted for "
        f"any operator in int8, {least:.3g} (noise model: {fit}; all in int8 measured {report.full_noise:.3g})"
    )


def _obstacle(plan: PlanRecord, *, asked: bool, prepared: bool) -> str:
    source = plan.epoch.source
    if not asked:
        return "[planning] shadow_requests and shadow_every_s are 0"
    if plan.epoch.local_fallback is None:
        pinned = any(source not in nodes for nodes in (plan.problem.constraints.pins or {}).values())
        why = "pins keep operators off it" if pinned else "it has no memory for it"
        return f"{source} does not hold the float model, for {why}"
    return "" if prepared else f"the float model is not ready on {source}"


def breaks_bound(plan: PlanRecord, report: NoiseReport | None, metric: str) -> bool:
    """Whether what was measured shows that a plan is noisier than its bound.

    Args:
        plan: What serves.
        report: Of its source and epoch.
        metric: What the bound speaks of.
    """
    if report is None or report.measure != metric:
        return False
    return exceeds(report.samples, report.mean, report.deviation, plan.goals.max_noise)


def _is_noisy(plan: PlanRecord) -> bool:
    return bool(plan.assignment.quantized) or plan.evaluation.noise > 0
