"""Compatibility of a model with the inference runtimes of nodes.

Owns: which node's onnxruntime is too old for a model, and the sentence that names it. Its rule: a node that does not say
what its runtime knows is taken to know everything; profiling will tell. Not here: what a runtime knows (agents say it).
"""

from __future__ import annotations

from edgesplit.control.registration_messages import NodeStatus
from edgesplit_controller.graph.protos import missing_operator_set
from edgesplit_controller.models.model_record import ModelRecord

__all__ = ["too_old"]


def too_old(status: NodeStatus | None, record: ModelRecord) -> str:
    """One sentence where a node's runtime does not load a model, since it is older than the model's opset; else empty."""
    if status is None or not status.opsets:
        return ""
    needs = {entry.domain: entry.version for entry in record.graph.proto.opset_import}
    missing = missing_operator_set(needs, status.opsets)
    runtime = status.runtime or "an onnxruntime"
    return f"node {status.node} runs {runtime}, {missing}: update it" if missing else ""
