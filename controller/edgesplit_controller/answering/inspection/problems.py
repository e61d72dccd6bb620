"""Problems of a fleet as it is now: what is wrong, and what to do about each.

Owns: what counts as a problem, and its words. Its rule: a fleet that does what it was asked to has none; each is told once, by what is
nearest to its cause. Not here: looking into what nobody told (`checks.py`), events (`event_log.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgesplit.formatting import time_span
from edgesplit.operations.inspection.status_operations import ProblemRow, Severity
from edgesplit_controller.answering.fleet_answers import link_rows
from edgesplit_controller.answering.inspection.served_models import FleetNow, answering_epoch, is_fallback, used_links
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.fleet.node_clocks import DIFFERENT_S
from edgesplit_controller.fleet.profiling_progress import failing_rows
from edgesplit_controller.fleet.registry import FleetNode
from edgesplit_controller.storage.deployment_state import DeploymentState
from edgesplit_controller.storage.write_health import StoreHealth
from edgesplit_controller.trust.fleet_trust import FleetTrust

__all__ = ["Own", "all_problems", "cause_and_remedy", "ending_certificates"]

LATE = 5 / 6
"""Certificates of machines are renewed at two thirds of their life; one that is older was not. [1]"""


@dataclass(frozen=True)
class Own:
    """What the controller knows of itself.

    Attributes:
        warnings: What is wrong with how it is set up, one sentence each.
        health: Of its store.
        trust: The fleet's; None where it has no authority.
        standbys: Machines on which controllers wait for its place.
    """

    warnings: Sequence[str]
    health: StoreHealth
    trust: FleetTrust | None
    standbys: Sequence[str] = ()


def all_problems(now: FleetNow, own: Own, guard: NoiseGuard, now_unix_s: float) -> tuple[ProblemRow, ...]:
    """All of them, errors first."""
    found = [
        *_own(own),
        *(
            row
            for name, deployment in sorted(now.deployments.items())
            for row in _of_model(now, name, deployment, guard)
        ),
        *_completions(now),
        *(row for name, node in now.registry.nodes.items() for row in _of_node(now, name, node, now_unix_s)),
        *_broken_links(now),
    ]
    return tuple(sorted(found, key=lambda row: row.severity != "error"))


def cause_and_remedy(sentence: str) -> tuple[str, str]:
    """A sentence that names a cause and what to do, in two; the latter may be missing."""
    what, _, do = sentence.partition(": ")
    return what, do


def _own(own: Own) -> Iterator[ProblemRow]:
    if own.health.cause:
        yield _problem("error", *cause_and_remedy(own.health.sentence))
    for sentence in own.warnings:
        what, do = cause_and_remedy(sentence)
        yield _problem("warning", f"the controller: {what}", do)
    if own.trust is not None:
        for who, left_s in ending_certificates(own.trust):
            yield _problem(
                "warning",
                f"the certificate of {who} ends in {time_span(left_s)} and was not renewed",
                f"see the log of {who}: it renews it by itself while it reaches the controller's HTTPS",
            )


def ending_certificates(trust: FleetTrust) -> Iterator[tuple[str, float]]:
    """Machines whose last certificate should have been renewed by now, and until when it holds. [s]"""
    latest = {
        (entry.role, entry.name): entry
        for entry in sorted(trust.record.state.certificates, key=lambda entry: entry.expires_s)
        if entry.role in {"controller", "node", "broker"} and entry.revoked_s is None and entry.expires_s > trust.now_s
    }
    for (role, name), entry in latest.items():
        if trust.now_s > entry.issued_s + LATE * (entry.expires_s - entry.issued_s):
            yield (role if role == name else f"{role} {name}"), entry.expires_s - trust.now_s


def _of_model(now: FleetNow, name: str, deployment: DeploymentState, guard: NoiseGuard) -> Iterator[ProblemRow]:
    source, plan = deployment.source, deployment.active
    node = now.registry.node(source)
    if not node.online:
        yield _problem(
            "error",
            f"{name} does not serve: its source {source} is offline",
            f"start edgesplit-agent on {source}, or deploy {name} from another node",
        )
        return
    if node.refused:
        return  # told of the node
    epoch = answering_epoch(now, name, source)
    look = f"see splitctl events --model {name}"
    if epoch is None:
        preparing = deployment.rollout.upcoming is not None
        what = "its first plan is being prepared" if preparing else f"{source} has no plan of it ready"
        yield _problem("warning" if preparing else "error", f"{name} does not serve: {what}", look)
    elif is_fallback(deployment, epoch):
        wanted = () if plan is None else plan.epoch.participants
        away = sorted(set(wanted) - {*now.registry.online()})
        yield _problem(
            "warning",
            f"{name} serves on a fallback (epoch {epoch}){f', for {_names(away)} is away' if away else ''}",
            f"start edgesplit-agent on {_names(away)}; the controller plans again by itself" if away else look,
        )
    if plan is not None and guard.finding(name, plan).breaks_bound:
        yield _problem(
            "warning", f"the measured noise of {name} exceeds its bound", f"see splitctl plan {name} for what follows"
        )


def _completions(now: FleetNow) -> Iterator[ProblemRow]:
    for name in now.catalog.records:
        row = now.catalog.completion(name)
        if row is not None and row.reason:
            again = "" if row.next_try_s is None else f"; it is tried again in {time_span(row.next_try_s)}"
            yield _problem(
                "warning",
                f"int8 and codecs of {name} cannot be found out ({row.reason}): it serves in float",
                f"see splitctl model show {name}{again}",
            )


def _of_node(now: FleetNow, name: str, node: FleetNode, now_unix_s: float) -> Iterator[ProblemRow]:
    if node.online and node.refused:
        yield _problem("error", *cause_and_remedy(node.refused))
        return
    if not node.online:
        if name not in {deployment.source for deployment in now.deployments.values()}:
            seen_s = now.registry.last_seen_s(name, now_unix_s)
            since = "" if seen_s is None else f" for {time_span(seen_s)}"
            yield _problem(
                "warning",
                f"node {name} is offline{since}",
                f"start edgesplit-agent there, or forget it if it is gone for good: splitctl node remove {name}",
            )
        return
    for row in failing_rows(node, now.registry.clock()):
        yield _problem(
            "warning",
            f"node {name} fails at {row.what} since {time_span(row.failing_s)}: {row.reason}",
            f"it is tried again in {time_span(row.next_try_s)}; mend what the reason names",
        )
    for model, report in sorted(node.profiles.items()):
        if report.state == "failed" and report.retry is None and model in now.catalog.records:
            yield _problem(
                "warning",
                f"node {name} could not profile {model} ({report.detail or 'it gave no reason'}): no plan uses it",
                f"once that is mended: splitctl model profile {model} --node {name}",
            )
    for sentence in node.status.warnings if node.status is not None else ():
        what, do = cause_and_remedy(sentence)
        yield _problem("warning", f"node {name}: {what}", do)
    if node.metrics is not None and node.metrics.power_problem:
        yield _problem(
            "warning",
            f"node {name} uses configured watts: {node.metrics.power_problem}",
            "mend the sensor, or choose another in [power] source of its agent",
        )
    if node.clock_offset_s is not None and abs(node.clock_offset_s) >= DIFFERENT_S:
        side = "ahead of" if node.clock_offset_s > 0 else "behind"
        yield _problem(
            "warning",
            f"the clock of node {name} is {time_span(abs(node.clock_offset_s))} {side} the controller's",
            "let both take their time from the network (NTP)",
        )


def _broken_links(now: FleetNow) -> Iterator[ProblemRow]:
    """Those that a plan uses."""
    used = used_links(now)
    for row in link_rows(now.registry, used.keys()):
        if not row.up:
            yield _problem(
                "warning",
                f"{row.from_} does not reach {row.to}, which the plan of {used[row.from_, row.to]} needs"
                f"{f': {row.reason}' if row.reason else ''}",
                f"see what stands between them: splitctl doctor {row.from_}",
            )


def _problem(severity: Severity, what: str, do: str) -> ProblemRow:
    return ProblemRow(severity=severity, what=what, do=do or "see splitctl doctor")


def _names(nodes: Sequence[str]) -> str:
    return ", ".join(nodes)
