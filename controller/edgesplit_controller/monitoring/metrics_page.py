"""The controller's Prometheus page.

Owns: what of it is about the controller itself, and the order of the rest. Its rule: no counters to keep in step; a scrape
shows what is. Not here: the HTTP route (`artifacts/artifact_server.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.monitoring.families import Page
from edgesplit_controller.monitoring.node_metrics import show_links, show_nodes
from edgesplit_controller.monitoring.plan_metrics import show_planning, show_plans
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["ControllerStanding", "render_metrics"]


@dataclass(frozen=True)
class ControllerStanding:
    """How the controller itself does.

    Attributes:
        version: Of edgesplit.
        connected: Whether the broker answers.
        store: Its folder.
        writable: Whether that takes writes.
        certificate_expires_s: When its certificate ends; None in a fleet without. [s since the epoch]
        untrusted: Messages that were not believed, by kind of topic.
        ignored: Messages that are none, or cannot be true, by reason.
    """

    version: str
    connected: bool
    store: Path
    writable: bool
    certificate_expires_s: float | None = None
    untrusted: Mapping[str, int] = field(default_factory=dict[str, int])
    ignored: Mapping[str, int] = field(default_factory=dict[str, int])


def render_metrics(
    standing: ControllerStanding,
    registry: Registry,
    models: Mapping[str, ModelRecord],
    deployments: Mapping[str, DeploymentState],
    *,
    planned: Mapping[tuple[str, str, str], int],
    solved: Mapping[str, Mapping[str, int]],
    without_plan: tuple[str, ...],
) -> bytes:
    """The page in Prometheus' text format.

    Args:
        standing: Of the controller.
        registry: Nodes and links.
        models: That were added.
        deployments: With their plans.
        planned: Counts of plans by deployment, reason and outcome.
        solved: Counts of solves by purpose and deployment.
        without_plan: Deployments that should be there and are not.
    """
    page = Page()
    _show_standing(page, standing)
    page.figure("models", "Models that were added", len(models))
    show_nodes(page, registry)
    show_links(page, registry)
    known = {labels: count for labels, count in planned.items() if labels[0] in deployments or labels[0] in models}
    show_planning(page, deployments, planned=known, solved=solved, without_plan=without_plan)
    show_plans(page, registry, deployments)
    return page.rendered()


def _show_standing(page: Page, standing: ControllerStanding) -> None:
    page.gauge("info", "What runs here", ("version",)).add_metric((standing.version,), 1)
    page.figure("broker_connected", "Whether the broker answers", standing.connected)
    page.figure("store_writable", "Whether the controller's folder takes writes", standing.writable)
    free, size = _room(standing.store)
    page.figure("store_disk_free_bytes", "Free where the controller's folder is", free)
    page.figure("store_disk_size_bytes", "Size of the file system where the controller's folder is", size)
    page.figure(
        "certificate_expires_timestamp_seconds",
        "When the certificate of the controller ends, since the epoch",
        standing.certificate_expires_s,
    )
    untrusted = page.counter("untrusted_messages", "Messages that were not believed, by kind of topic", ("topic",))
    ignored = page.counter("ignored_messages", "Messages that were malformed or cannot be true", ("reason",))
    for family, counts in ((untrusted, standing.untrusted), (ignored, standing.ignored)):
        for value, count in counts.items():
            family.add_metric((value,), count)


def _room(folder: Path) -> tuple[float | None, float | None]:
    """What is free where a folder is, and how much there is; None where it is gone. [B]"""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None, None
    return usage.free, usage.total
