"""Readiness of nodes for a model: whether one can be its source, or hold a part of a plan that somebody made.

Owns: these checks, and the sentence that says what a node lacks. Its rule: what only takes time is `NotProfiledYet`, so that a
caller may wait for it; everything else somebody has to change. Not here: which nodes a problem is stated with
(`deciding/plan_maker.py`).
"""

from __future__ import annotations

from typing import NoReturn

from edgesplit.errors import InvalidInput, NodeUnreachable, NotProfiledYet, UnknownNode
from edgesplit.names import planned_name
from edgesplit.planning.goals import Goals
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.runtime_support import too_old
from edgesplit_controller.models.model_record import ModelRecord

__all__ = ["check_source", "refuse_holder"]


def check_source(registry: Registry, record: ModelRecord, node: str) -> None:
    """Refuse a node that cannot be a model's source.

    Raises:
        UnknownNode: No node of this name registered.
        NodeUnreachable: It is offline or refused.
        NotProfiledYet: Its times are not in.
        InvalidInput: It cannot run the model.
    """
    _check(registry, record, node, "be the source", "choose another source")


def refuse_holder(registry: Registry, record: ModelRecord, goals: Goals, node: str, *, is_candidate: bool) -> NoReturn:
    """Say why a node that a given plan needs is not in the problem. As `check_source`.

    Raises:
        InvalidInput: It is forbidden, or no candidate, too.
        NodeUnreachable: It has no links, too.
    """
    if node in goals.forbidden:
        raise InvalidInput(f"the plan uses {node}, which is forbidden: allow it with splitctl allow {node}")
    if not is_candidate and registry.knows(node):
        which = f"has no labels {goals.on}" if goals.on else "is of another site than the source"
        raise InvalidInput(f"the plan uses {node}, which {which}: deploy with --on and a selector that means it, too")
    _check(registry, record, node, "hold a part of the plan", "use another node")
    raise NodeUnreachable(f"node {node} has no links both ways now: wait a little, or use another node")


def _check(registry: Registry, record: ModelRecord, node: str, part: str, otherwise: str) -> None:
    if not registry.knows(node):
        known = ", ".join(registry.nodes) or "none yet"
        raise UnknownNode(f"no node {node!r} is registered: choose among the known ones ({known})")
    found = registry.node(node)
    if found.refused:
        raise NodeUnreachable(f"node {node} cannot {part}: {found.refused}")
    if not found.online or found.metrics is None:
        raise NodeUnreachable(f"node {node} is offline: start its agent or {otherwise}")
    if outdated := too_old(found.status, record):
        raise InvalidInput(f"{outdated}, or {otherwise}")
    if registry.profile(node, record.name, record.sha256) is not None:
        return
    report = found.profiles.get(planned_name(record.name))
    failed = report is not None and report.sha256 == record.sha256 and report.state == "failed"
    if failed and report is not None and report.retry is not None:
        raise NotProfiledYet(
            f"node {node} has not profiled {record.name} yet ({report.detail}) and tries again by itself: "
            f"see splitctl model show {record.name}"
        )
    if failed and report is not None:
        raise InvalidInput(f"node {node} cannot run {record.name}: {report.detail or 'its profiling failed'}")
    raise NotProfiledYet(f"node {node} has not profiled {record.name} yet: wait a little and try again")
