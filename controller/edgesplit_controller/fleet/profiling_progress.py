"""Profiling progress of nodes: waiting for them, asking them again, saying who fails and why.

Owns: what is concluded from nodes' reports. Its rule: a failure that passes is the node's to try again; nobody waits for
it, everybody is told. Not here: measuring (agents), the reports themselves (`fleet/registry.py`), models (`catalog.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from edgesplit.control.profile_messages import ProfileReport, ProfileRequest
from edgesplit.operations.fleet_operations import FailingRow
from edgesplit.operations.model_operations import ProfiledRow, ProfilingRow
from edgesplit.retrying import Retrying
from edgesplit_controller.fleet.registry import FleetNode, Registry
from edgesplit_controller.fleet.runtime_support import too_old
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Progress

__all__ = ["Profiling", "ProfilingPort", "failing_rows", "profiling_rows"]

POLL_S = 0.1
QUICK_S = 5.0
"""Once one node has timed a model, the others are waited for so long: who asked wants to deploy it. [s]"""


class ProfilingPort(Protocol):
    """Where requests to nodes go."""

    def ask_profile(self, node: str, request: ProfileRequest) -> None:
        """A node should measure a model once more."""


@dataclass(frozen=True)
class _Standing:
    """How far the nodes are that somebody waits for.

    Attributes:
        waiting: Those not settled.
        fractions: Done share of each. [1]
    """

    waiting: frozenset[str]
    fractions: Mapping[str, float]


class Profiling:
    """Waiting for nodes.

    Args:
        registry: Which nodes are online and what they reported.
        port: Where requests go.
        silence_s: How long a node may stay silent while it should profile. [s]
    """

    def __init__(self, registry: Registry, port: ProfilingPort, silence_s: float) -> None:
        self._registry = registry
        self._port = port
        self._silence_s = silence_s

    async def wait(self, record: ModelRecord, progress: Progress) -> list[str]:
        """Wait until every online node profiled a model or failed to.

        Returns:
            A warning for every node that did not.
        """

        def standing() -> _Standing:
            settled: dict[str, float] = {}
            for name in self._registry.online():
                report = self._report(name, record)
                settled[name] = 0.0 if report is None else report.fraction if report.state == "running" else 1.0
            running = {name for name in settled if self._state(name, record) in {"waiting", "running"}}
            return _Standing(frozenset(running), settled)

        silent = await self._wait(standing, progress)
        return self._warnings(record, silent)

    async def wait_for_any(self, record: ModelRecord, progress: Progress) -> list[str]:
        """Wait until every online node has timed a model or failed to, or one has and the others take long.

        Returns:
            A warning for every node that has not.
        """
        first_s: float | None = None

        def standing() -> _Standing:
            nonlocal first_s
            online = self._registry.online()
            timed = {name for name in online if self._registry.profile(name, record.name, record.sha256) is not None}
            if timed and first_s is None:
                first_s = time.monotonic()
            late = first_s is not None and time.monotonic() - first_s > QUICK_S
            waiting = {name for name in online if self._state(name, record) in {"waiting", "running"}} - timed
            fractions = {name: 1.0 if name in timed else 0.0 for name in online}
            return _Standing(frozenset() if late else frozenset(waiting), fractions)

        silent = await self._wait(standing, progress)
        return self._warnings(record, silent)

    async def ask_again(self, record: ModelRecord, node: str | None, progress: Progress) -> list[ProfiledRow]:
        """Have online nodes, or one node, profile a model once more, and wait for them.

        Raises:
            UnknownNode: None of that name is registered.
        """
        names = self._asked(node)
        online = frozenset(self._registry.online()) & frozenset(names)
        asked, started_s = secrets.token_hex(8), time.monotonic()
        for name in sorted(online):
            self._port.ask_profile(name, ProfileRequest(model=record.name, sha256=record.sha256, asked=asked))
        ended_s: dict[str, float] = {}

        def standing() -> _Standing:
            fractions = dict.fromkeys(online, 0.0)
            for name in online:
                report = self._report(name, record)
                if report is not None and report.asked == asked:
                    fractions[name] = report.fraction
                    if report.state != "running":
                        ended_s.setdefault(name, time.monotonic() - started_s)
            waiting = frozenset(name for name in online - ended_s.keys() if self._registry.node(name).online)
            return _Standing(waiting, fractions)

        await self._wait(standing, progress)
        waited_s = time.monotonic() - started_s
        return [self._row(name, record, asked, ended_s.get(name, waited_s)) for name in names]

    def failures(self, record: ModelRecord) -> tuple[ProfilingRow, ...]:
        """Online nodes that have no profile of a model, or could not run it any more."""
        online = frozenset(self._registry.online())
        rows = profiling_rows(record, self._registry)
        return tuple(
            row
            for row in rows
            if row.node in online
            and (
                self._registry.profile(row.node, record.name, record.sha256) is None
                or too_old(self._registry.node(row.node).status, record)
            )
        )

    async def _wait(self, standing: Callable[[], _Standing], progress: Progress) -> frozenset[str]:
        """Wait until nobody is waited for but nodes that are silent; returns those."""
        heard: dict[str, tuple[float, float]] = {}
        while True:
            now, now_s = standing(), time.monotonic()
            for name, fraction in now.fractions.items():
                if heard.get(name, (-1.0, 0.0))[0] != fraction:
                    heard[name] = (fraction, now_s)
            silent = frozenset(name for name in now.waiting if now_s - heard[name][1] > self._silence_s)
            if not now.waiting - silent:
                return silent
            share = sum(now.fractions.values()) / max(1, len(now.fractions))
            progress(f"profiling on {', '.join(sorted(now.waiting - silent))}", share)
            await asyncio.sleep(POLL_S)

    def _asked(self, node: str | None) -> tuple[str, ...]:
        if node is None:
            return self._registry.online()
        self._registry.check_known(node)
        return (node,)

    def _row(self, name: str, record: ModelRecord, asked: str, seconds: float) -> ProfiledRow:
        node, report = self._registry.node(name), self._report(name, record)
        if not node.online or node.refused:
            reason = node.refused or "it is offline: start its agent"
            return ProfiledRow(node=name, state="offline", seconds=seconds, reason=reason)
        if report is None or report.asked != asked or report.state == "running":
            reason = f"it did not answer within {self._silence_s:g} s: look at its log"
            return ProfiledRow(node=name, state="silent", seconds=seconds, reason=reason)
        if report.state == "done":
            whole_s = report.profile.whole_s if report.profile is not None else None
            return ProfiledRow(node=name, state="done", seconds=seconds, whole_s=whole_s)
        reason = report.detail or "it gave no reason"
        if report.retry is None:
            return ProfiledRow(node=name, state="failed", seconds=seconds, reason=reason)
        next_try_s = report.retry.next_try_s
        return ProfiledRow(node=name, state="retrying", seconds=seconds, reason=reason, next_try_s=next_try_s)

    def _state(self, name: str, record: ModelRecord) -> str:
        return _row_of(name, self._registry.node(name), record, self._registry.clock()).state

    def _report(self, name: str, record: ModelRecord) -> ProfileReport | None:
        report = self._registry.node(name).profiles.get(record.name)
        of_offer = {"", record.offered}
        return report if report is not None and report.sha256 == record.sha256 and report.offered in of_offer else None

    def _warnings(self, record: ModelRecord, silent: Collection[str]) -> list[str]:
        warnings: list[str] = []
        for row in self.failures(record):
            if row.node in silent or row.state in {"waiting", "running"}:
                warnings.append(f"node {row.node} has not timed {record.name} yet: no plan uses it until it has")
            elif row.state == "retrying":
                again = "at once" if not row.next_try_s else f"in {row.next_try_s:.0f} s"
                warnings.append(
                    f"node {row.node} could not profile {record.name}: {row.reason}; no plan uses it until it does, "
                    f"and it tries again {again}"
                )
            elif too_old(self._registry.node(row.node).status, record):
                warnings.append(f"{row.reason}; no plan uses it until then")
            elif row.state == "failed":
                warnings.append(f"node {row.node} could not profile {record.name}: {row.reason}; no plan uses it")
        if not self._registry.online():
            warnings.append(f"no node is online: nodes profile {record.name} once they are")
        return warnings


def profiling_rows(record: ModelRecord, registry: Registry) -> tuple[ProfilingRow, ...]:
    """Where every node stands that is online or has reported."""
    return tuple(
        _row_of(name, node, record, registry.clock())
        for name, node in registry.nodes.items()
        if (node.online and not node.refused) or record.name in node.profiles
    )


def failing_rows(node: FleetNode, now_s: float) -> tuple[FailingRow, ...]:
    """What a node tries again and again. [s]"""
    rows: list[FailingRow] = []
    for model, report in sorted(node.profiles.items()):
        if report.retry is not None and report.state != "done":
            rows.append(_failing(f"profiling {model}", report.detail, report.retry, now_s - node.profiled_s[model]))
    for model, observed in sorted(node.observed.items()):
        for state in observed.epochs:
            if state.retry is not None:
                what = f"preparing epoch {state.epoch} of {model}"
                rows.append(_failing(what, state.detail, state.retry, now_s - node.observed_s[model]))
    return tuple(rows)


def _failing(what: str, reason: str, retry: Retrying, since_said_s: float) -> FailingRow:
    return FailingRow(
        what=what,
        reason=reason,
        attempts=retry.attempts,
        failing_s=retry.failing_s + since_said_s,
        next_try_s=max(retry.next_try_s - since_said_s, 0.0),
    )


def _row_of(name: str, node: FleetNode, record: ModelRecord, now_s: float) -> ProfilingRow:
    outdated = too_old(node.status, record)
    if outdated:
        return ProfilingRow(node=name, state="failed", reason=outdated)
    report = node.profiles.get(record.name)
    if report is None or report.sha256 != record.sha256:
        return ProfilingRow(node=name, state="waiting")
    if report.offered not in {"", record.offered}:
        return ProfilingRow(node=name, state="waiting")  # it speaks of the offer before
    if report.state == "done":
        return ProfilingRow(node=name, state="done", fraction=1.0)
    retry = report.retry
    if retry is None:
        return ProfilingRow(node=name, state=report.state, fraction=report.fraction, reason=report.detail)
    failing = _failing("", report.detail, retry, now_s - node.profiled_s[record.name])
    return ProfilingRow(
        node=name,
        state="running" if report.state == "running" else "retrying",
        fraction=report.fraction,
        reason=failing.reason,
        attempts=failing.attempts,
        failing_s=failing.failing_s,
        next_try_s=0.0 if report.state == "running" else failing.next_try_s,
    )
