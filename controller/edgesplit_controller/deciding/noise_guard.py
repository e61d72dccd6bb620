"""Noise guard: bounds are checked on served requests, not trusted.

Owns: what sources measured, and what follows. Its rule: a breach is told once and tightens the
model before anything is planned, so that what follows (planning again, a restart) finds the tightening in the state.
Not here: the rule that judges (`rollout/noise_checks.py`), what a tightening does (`stating/noise_tightening.py`), planning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from edgesplit.control.noise_messages import NoiseReport, least_mean
from edgesplit.errors import EdgesplitError
from edgesplit.names import planned_name
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.noise_checks import RHO, breaks_bound, why_unchecked
from edgesplit_controller.stating.noise_tightening import tightening_after
from edgesplit_controller.storage.deployment_state import PlanRecord, Tightening

__all__ = ["NoiseFinding", "NoiseGuard"]


@dataclass(frozen=True)
class NoiseFinding:
    """What is known of the noise of a plan's requests.

    Attributes:
        report: What its source measured; None where nothing was heard.
        note: Why it is not measured, or not rightly; empty where it is.
        breaks_bound: The measured noise breaks the plan's bound.
    """

    report: NoiseReport | None
    note: str
    breaks_bound: bool


class NoiseGuard:
    """Judges what sources report.

    Args:
        rollouts: Hold the plans and the tightenings.
        deployer: Plans again.
        maker: Says what a plan's noise is predicted to be.
        models: By name.
        events: Where breaches are told.
        settings: Whether checks are configured.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        deployer: Deployer,
        maker: PlanMaker,
        *,
        models: Mapping[str, ModelRecord],
        events: EventLog,
        settings: PlanningSection,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rollouts = rollouts
        self._deployer = deployer
        self._maker = maker
        self._models = models
        self._events = events
        self._checks = settings.shadow_requests > 0 or settings.shadow_every_s > 0
        self._clock = clock
        self._log = structlog.get_logger(part="noise")
        self._reports: dict[tuple[str, str], NoiseReport] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def observe(self, node: str, model: str, report: NoiseReport | None) -> None:
        """Take in what a node measured; None where it holds nothing of the model any more."""
        if report is None:
            self._reports.pop((node, model), None)
            return
        self._reports[node, model] = report
        self._consider(model)

    def forget_node(self, node: str) -> None:
        """A node is gone for good."""
        self._reports = {key: report for key, report in self._reports.items() if key[0] != node}

    def settle(self) -> None:
        """What the broker retained has arrived."""
        for model in tuple(self._rollouts.state.deployments):
            self._consider(model)

    def report(self, model: str, plan: PlanRecord) -> NoiseReport | None:
        """What the source measured on a plan."""
        report = self._reports.get((plan.epoch.source, model))
        return report if report is not None and report.epoch == plan.epoch.number else None

    def finding(self, model: str, plan: PlanRecord) -> NoiseFinding:
        """What is known of the noise of a plan's requests, and why if nothing is."""
        report = self.report(model, plan)
        local = plan.epoch.local_fallback
        prepared = local is not None and self._rollouts.is_prepared(model, plan.epoch.source, local)
        note = why_unchecked(plan, report, asked=self._checks, prepared=prepared)
        return NoiseFinding(report, note, not note and breaks_bound(plan, report, self._metric(model)))

    def tightening(self, model: str) -> Tightening | None:
        """How a model's noise model is tightened."""
        return self._rollouts.state.tightenings.get(model)

    def believe(self, model: str) -> None:
        """A model was added anew, or removed: its noise model is believed until a plan of it proves it wrong."""
        tightenings = self._rollouts.state.tightenings
        kept = {name: one for name, one in tightenings.items() if planned_name(name) != model}
        if len(kept) < len(tightenings):
            self._rollouts.note(tightenings=kept)

    async def close(self) -> None:
        """Stop judging."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _consider(self, model: str) -> None:
        if model in self._tasks or not self._rollouts.settled:
            return
        found = self._breach(model)
        if found is None:
            return
        task = asyncio.create_task(self._tighten(model, *found), name=f"tighten-{model}")
        self._tasks[model] = task
        task.add_done_callback(lambda _: self._tasks.pop(model, None))

    def _breach(self, model: str) -> tuple[PlanRecord, NoiseReport] | None:
        """The active plan and what was measured on it, where that exceeds its bound and nobody was told."""
        deployment, record = self._rollouts.state.deployments.get(model), self._models.get(model)
        active = deployment.active if deployment is not None else None
        report = self.report(model, active) if active is not None else None
        if active is None or report is None or record is None or not record.fits(active.version):
            return None
        tightening = self.tightening(model)
        if tightening is not None and tightening.epoch == report.epoch:
            return None
        return (active, report) if breaks_bound(active, report, self._metric(model)) else None

    def _metric(self, model: str) -> str:
        """What a model's noise bound speaks of."""
        record = self._models.get(model)
        return record.manifest.noise_report.metric if record is not None else RHO

    async def _tighten(self, model: str, active: PlanRecord, report: NoiseReport) -> None:
        bound = active.goals.max_noise
        assert bound is not None  # noqa: S101  it was exceeded
        try:
            problem = self._deployer.problem(model, active.epoch.source, self._deployer.goals(model))
            now = await self._maker.evaluated(problem, active)
            predicted = None if now is None else now.noise
            if predicted is None:
                return  # a node of the plan is gone: it is being replaced anyway
        except EdgesplitError as error:
            self._log.warning("breach-judged-later", model=model, reason=str(error))
            return
        before = self.tightening(model)
        after = tightening_after(before, report, predicted=predicted, bound=bound, at_unix_s=self._clock())
        # A bound that is exceeded counts at once: what a store cannot take now is written with what comes next.
        self._rollouts.note(tightenings=self._rollouts.state.tightenings | {model: after})
        self._tell(model, report, after, before, fixed=active.fixed)
        self._deployer.look_again(model)

    def _tell(
        self, model: str, report: NoiseReport, after: Tightening, before: Tightening | None, *, fixed: bool
    ) -> None:
        least = least_mean(report.samples, after.measured, report.deviation)
        step = after.factor / (before.factor if before is not None else 1.0)
        what = "only float is planned" if after.float_only else f"its noise model is tightened {step:.3g} times"
        text = (
            f"{model} epoch {report.epoch} exceeds its noise bound: {after.measured:.3g} on average over "
            f"{report.samples} checked requests, predicted {after.predicted:.3g}, bound {after.bound:.3g}; {what}, and "
            + ("its plan stays, for it is fixed" if fixed else "it is planned again")
        )
        data: dict[str, str | float | int | bool | None] = {
            "epoch": report.epoch,
            "predicted": after.predicted,
            "measured": after.measured,
            "bound": after.bound,
            "samples": report.samples,
            "least_mean": least,
            "measure": report.measure,
            "factor": after.factor,
            "float_only": after.float_only,
        }
        self._events.add("noise-exceeded", text, model=model, data=data)
