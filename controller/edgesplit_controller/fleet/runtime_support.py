"""Compatibility of a model with the inference runtimes of nodes, and with their releases of edgesplit.

Owns: which node's onnxruntime or agent is too old for a model, and the sentence that names it. Its rule: a node that does not say
what its runtime knows is taken to know everything; profiling will tell. Not here: what a runtime knows (agents say it).
"""

from __future__ import annotations

from edgesplit.control.registration_messages import NodeStatus
from edgesplit_controller.graph.protos import missing_operator_set
from edgesplit_controller.models.model_record import ModelRecord

__all__ = ["too_old"]

WITHOUT_OPEN_SIZES = frozenset({"0.1.0"})
"""Releases whose agents take a size that requests choose for a fixed one (and say no opsets): as the source they would refuse every request, and what they
say of profiles does not show it."""


def too_old(status: NodeStatus | None, record: ModelRecord) -> str:
    """One sentence where a node's runtime or release does not serve a model, since it is older than the model needs; else empty."""
    if status is None:
        return ""
    if status.opsets:
        needs = {entry.domain: entry.version for entry in record.graph.proto.opset_import}
        missing = missing_operator_set(needs, status.opsets)
        runtime = status.runtime or "an onnxruntime"
        return f"node {status.node} runs {runtime}, {missing}: update it" if missing else ""
    if record.graph.open is not None and status.version in WITHOUT_OPEN_SIZES:
        return (
            f"node {status.node} runs edgesplit {status.version}, which knows no sizes that requests choose: update it"
        )
    return ""
