"""Gauges of a node on `/metrics`: what is queued and held now, and what room there is.

Owns: their names, and where each is read. Its rule: read when somebody scrapes, so that nothing has to be kept in step. Not here:
counters, and how a page is made (`reporting/metrics.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.serving.machine.agent_machine import AgentMachine

__all__ = ["show_gauges"]


def show_gauges(metrics: PrometheusMetrics, machine: AgentMachine, worker: Worker, cache: Path) -> None:
    """Have a node's page show them.

    Args:
        metrics: The page.
        machine: Its requests and epochs.
        worker: What computes.
        cache: Folder of blobs.
    """
    admission = machine.flow.admission
    shown: tuple[tuple[str, str, Callable[[], float | None]], ...] = (
        (
            "requests_in_flight",
            "Requests that this source has taken in and not answered.",
            lambda: machine.held.requests,
        ),
        (
            "executions_in_flight",
            "Requests of any source that this node works on.",
            lambda: len(machine.flow.executions),
        ),
        ("compute_queue_jobs", "Components, codings and measurements that wait to compute.", lambda: worker.waiting),
        ("memory_limit_bytes", "What weights and tensors together may take.", lambda: admission.limit_bytes),
        ("weights_bytes", "Weights of the epochs held.", lambda: admission.weight_bytes),
        ("tensors_bytes", "What the tensors of requests in flight may take here.", lambda: machine.held.all_bytes),
        ("cache_disk_free_bytes", "Free where the cache of blobs is.", lambda: _disk(cache, "free")),
        (
            "cache_disk_size_bytes",
            "Size of the file system where the cache of blobs is.",
            lambda: _disk(cache, "total"),
        ),
    )
    for name, text, read in shown:
        metrics.show_now(name, text, read)


def _disk(folder: Path, figure: str) -> float | None:
    """Of a folder's file system; None where it is gone. [B]"""
    try:
        return float(getattr(shutil.disk_usage(folder), figure))
    except OSError:
        return None
