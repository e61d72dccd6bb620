"""Metrics of plans: what serves, what it predicts, and what its requests took.

Owns: these families. Its rule: a deployment is named as commands name it (`NAME`, `NAME@2`, `NAME~SOURCE`), under the label `model`;
figures of an epoch go with it. Not here: what agents count by themselves (their own pages).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgesplit.names import source_of
from edgesplit_controller.answering.plan_documents import measured_document
from edgesplit_controller.answering.serving.energy_report import energy_rows
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.monitoring.families import Page
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord, active_plans

__all__ = ["show_planning", "show_plans"]


def show_planning(
    page: Page,
    deployments: Mapping[str, DeploymentState],
    *,
    planned: Mapping[tuple[str, str, str], int],
    solved: Mapping[str, Mapping[str, int]],
    without_plan: Iterable[str],
) -> None:
    """What was planned, why, and who has no plan.

    Args:
        page: Where.
        deployments: By name.
        planned: Counts by deployment, reason and outcome.
        solved: Counts by purpose and deployment.
        without_plan: Deployments that should be there and are not.
    """
    made = page.counter(
        "plans",
        "Plans that were made, by why and by what came of them: adopted, kept, declined, infeasible or abandoned",
        ("model", "reason", "outcome"),
    )
    for labels, count in planned.items():
        made.add_metric(labels, count)
    solves = page.counter("solves", "Problems solved: plans, and fallbacks for a plan's nodes", ("model", "purpose"))
    for purpose, counts in solved.items():
        for name, count in counts.items():
            solves.add_metric((name, purpose), count)
    has = page.gauge("source_has_plan", "Whether a source of a deployed model has a plan", ("model", "source"))
    for name, deployment in deployments.items():
        has.add_metric((name, deployment.source), deployment.active is not None)
    for name in without_plan:
        if name not in deployments:
            has.add_metric((name, source_of(name)), 0)


def show_plans(page: Page, registry: Registry, deployments: Mapping[str, DeploymentState]) -> None:
    """The plans that serve: who takes part, what they predict, what was measured."""
    plans = dict(active_plans(deployments))
    epoch = page.gauge("epoch", "Number of the plan that serves", ("model",))
    serving = page.gauge(
        "serving_epoch", "Epoch on which the source begins requests: the plan's, or a fallback's", ("model",)
    )
    takes_part = page.gauge("plan_participant", "1 for every node that has a part of the plan", ("model", "node"))
    made = page.gauge("plan_made_timestamp_seconds", "When the plan that serves was made, since the epoch", ("model",))
    solve = page.gauge("plan_solve_seconds", "Time the planner took for the plan that serves", ("model",))
    for name, plan in plans.items():
        epoch.add_metric((name,), plan.epoch.number)
        observed = registry.node(plan.epoch.source).observed.get(name)
        if observed is not None and observed.serving is not None:
            serving.add_metric((name,), observed.serving)
        for node in plan.epoch.participants:
            takes_part.add_metric((name, node), 1)
        if plan.made_unix_s:
            made.add_metric((name,), plan.made_unix_s)
        solve.add_metric((name,), plan.solve_s)
    _show_predictions(page, plans)
    _show_measured(page, registry, plans)
    _show_energy(page, registry, plans)


def _show_predictions(page: Page, plans: Mapping[str, PlanRecord]) -> None:
    predicted = page.gauge("plan_latency_seconds", "Predicted latency of the plan that serves", ("model",))
    energy = page.gauge("plan_energy_joules", "Predicted energy of the plan that serves", ("model",))
    low_s, high_s = (
        page.gauge(
            f"plan_latency_{end}_seconds", f"{word} end of the 90 % interval of the predicted latency", ("model",)
        )
        for end, word in (("low", "Lower"), ("high", "Upper"))
    )
    low_j, high_j = (
        page.gauge(f"plan_energy_{end}_joules", f"{word} end of the 90 % interval of the predicted energy", ("model",))
        for end, word in (("low", "Lower"), ("high", "Upper"))
    )
    noise = page.gauge("plan_noise", "Predicted noise of the plan that serves", ("model",))
    for name, plan in plans.items():
        predicted.add_metric((name,), plan.evaluation.timeline_s)
        energy.add_metric((name,), plan.evaluation.energy_j)
        noise.add_metric((name,), plan.evaluation.noise)
        if (interval := plan.interval) is not None:
            for ends, pages in ((interval.latency_s, (low_s, high_s)), (interval.energy_j, (low_j, high_j))):
                for end, shown in zip(ends, pages, strict=True):
                    shown.add_metric((name,), end)


def _show_measured(page: Page, registry: Registry, plans: Mapping[str, PlanRecord]) -> None:
    """What requests took at their source, which counts them."""
    took = page.summary(
        "request_latency_seconds", "From arrival to answer at the source, on the plan that serves", ("model", "epoch")
    )
    failed = page.counter(
        "failed_requests", "Requests of the plan that serves that ended in an error at its source", ("model", "epoch")
    )
    ratio = page.gauge(
        "plan_latency_predicted_over_measured_ratio",
        "Predicted latency over the mean of the requests of the plan that serves; not shown while some of them had other "
        "sizes than planned for",
        ("model",),
    )
    for name, plan in plans.items():
        measured = measured_document(registry.usage(name, plan.epoch.number), plan.epoch.source)
        labels = (name, str(plan.epoch.number))
        mean_s = measured.latency_s or 0.0
        took.add_metric(labels, count_value=measured.requests, sum_value=mean_s * measured.requests)
        failed.add_metric(labels, measured.failed)
        if mean_s and not measured.unplanned:
            ratio.add_metric((name,), plan.evaluation.timeline_s / mean_s)


def _show_energy(page: Page, registry: Registry, plans: Mapping[str, PlanRecord]) -> None:
    parts = ("model", "node", "part")
    foreseen = page.gauge("plan_node_energy_joules", "Predicted energy of a node per request", parts)
    spent = page.gauge(
        "request_node_energy_joules",
        "Energy of a node per served request; origin says how it is known",
        (*parts, "origin"),
    )
    for name, plan in plans.items():
        for place, row in energy_rows(plan, registry.usage(name, plan.epoch.number)).items():
            foreseen.add_metric((name, place, "compute"), row.predicted_compute_j)
            foreseen.add_metric((name, place, "transmit"), row.predicted_transmit_j)
            if row.compute_j is not None and row.transmit_j is not None:
                spent.add_metric((name, place, "compute", row.compute_origin or ""), row.compute_j)
                spent.add_metric((name, place, "transmit", row.transmit_origin or ""), row.transmit_j)
