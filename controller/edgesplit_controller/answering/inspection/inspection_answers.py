"""Answers for whoever looks at a running fleet.

Owns: the operations of `edgesplit.operations.inspection`. Its rule: looking changes nothing. Not here: what is wrong (`problems.py`), what
is looked into (`checks.py`), how a request's way is put together (`trace_document.py`).
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from edgesplit.control.inquiry_messages import NodeTrace
from edgesplit.errors import NodeUnreachable
from edgesplit.operations.inspection.doctor_operation import CheckRow, Diagnose, DiagnosisDocument
from edgesplit.operations.inspection.graph_operation import GraphDocument, ShowGraph
from edgesplit.operations.inspection.inspection_operation import InspectionOperation
from edgesplit.operations.inspection.status_operations import (
    ActivityDocument,
    ShowActivity,
    ShowStatus,
    StatusDocument,
)
from edgesplit.operations.inspection.trace_operation import ShowTrace, TraceDocument
from edgesplit.release import installed_version
from edgesplit_controller.answering.inspection.checks import WaysNow, controller_checks, node_checks
from edgesplit_controller.answering.inspection.graph_document import graph_document
from edgesplit_controller.answering.inspection.inquiries import Inquiries
from edgesplit_controller.answering.inspection.notes import all_notes
from edgesplit_controller.answering.inspection.problems import Own, all_problems
from edgesplit_controller.answering.inspection.served_models import (
    FleetNow,
    activity_document,
    node_state_rows,
    served_rows,
)
from edgesplit_controller.answering.inspection.trace_document import trace_document
from edgesplit_controller.answering.serving.active_plan import active_plan
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.noise_guard import NoiseGuard

__all__ = ["InspectionAnswers"]


class InspectionAnswers:
    """All of them.

    Args:
        now: Nodes, models and plans.
        deployer: The deployments.
        guard: Knows measured noise.
        inquiries: Asks nodes.
        own: What the controller knows of itself, as it is now.
        store: The controller's folder.
    """

    def __init__(
        self,
        now: FleetNow,
        deployer: Deployer,
        guard: NoiseGuard,
        *,
        inquiries: Inquiries,
        own: Callable[[], Own],
        store: Path,
    ) -> None:
        self._now = now
        self._deployer = deployer
        self._guard = guard
        self._inquiries = inquiries
        self._own = own
        self._store = store

    async def answer(
        self, asked: InspectionOperation
    ) -> StatusDocument | ActivityDocument | DiagnosisDocument | TraceDocument | GraphDocument:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        match asked:
            case ShowStatus():
                return self._status()
            case ShowActivity():
                return activity_document(self._now, time.time())
            case Diagnose():
                return await self._diagnose(asked.node)
            case ShowTrace():
                return await self._trace(asked.name, asked.request)
            case ShowGraph():
                return graph_document(self._now.catalog.get(asked.name))
            case _:
                assert_never(asked)

    def _status(self) -> StatusDocument:
        now_unix_s = time.time()
        own = self._own()
        problems = all_problems(self._now, own, self._guard, now_unix_s)
        return StatusDocument(
            ok=not problems,
            problems=problems,
            models=tuple(served_rows(self._now)),
            nodes=tuple(node_state_rows(self._now, now_unix_s)),
            notes=tuple(all_notes(self._now.rollouts.state, own.standbys, now_unix_s)),
        )

    async def _diagnose(self, node: str) -> DiagnosisDocument:
        registry, began_unix_s, version = self._now.registry, time.time(), installed_version()
        if node:
            registry.check_known(node)
        names = (node,) if node else tuple(registry.nodes)
        answers = await self._inquiries.ask({*names} & {*registry.online()}, "checkup")
        checks: list[CheckRow] = []
        if not node:
            free_bytes = (await asyncio.to_thread(shutil.disk_usage, self._store)).free
            checks += controller_checks(self._own(), free_bytes, str(self._store), version)
        now_unix_s, ways = time.time(), WaysNow.of(registry)
        for name in names:
            checks += node_checks(registry, name, answers.get(name), ways, now_unix_s=now_unix_s, version=version)
        ok = not any(row.verdict in {"warning", "error"} for row in checks)
        return DiagnosisDocument(ok=ok, checks=tuple(checks), at_unix_s=began_unix_s, version=version)

    async def _trace(self, name: str, request: str) -> TraceDocument:
        plan = active_plan(self._now.catalog, self._deployer, name)
        source = plan.epoch.source
        if source not in self._now.registry.online():
            raise NodeUnreachable(f"{source}, which answers requests of {name}, is offline: start its agent")
        first = (await self._inquiries.ask((source,), "trace", model=name, request=request)).get(source)
        if first is None or first.findings.trace is None:
            raise NodeUnreachable(
                f"{source} does not tell of its requests: see what is wrong there with splitctl doctor {source}"
            )
        traces = {source: first.findings.trace}
        if traces[source].ended_s is None:
            traces[source] = NodeTrace(request="", now_s=traces[source].now_s)
        epochs = {step.on_epoch for step in traces[source].steps}
        deployment = self._deployer.deployments[name]
        others = {
            *(node for number, plan in deployment.plans.items() if number in epochs for node in plan.specs),
            *(node for number, made in deployment.fallbacks.items() if number in epochs for node in made.specs),
        } - {source}
        there = others & {*self._now.registry.online()}
        missing = dict.fromkeys(others - there, "it is offline")
        answers = await self._inquiries.ask(there, "trace", model=name, request=traces[source].request)
        for node in there:
            answer = answers.get(node)
            if answer is None or answer.findings.trace is None:
                missing[node] = f"it does not answer: splitctl doctor {node}"
            elif not answer.findings.trace.request:
                missing[node] = "it remembers nothing of this request"
            else:
                traces[node] = answer.findings.trace
        return trace_document(
            name, source, traces, missing=missing, plans=deployment.plans, now_unix_s=first.heard_unix_s
        )
