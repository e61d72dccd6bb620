"""The union of operations of whoever looks at a running fleet."""

from __future__ import annotations

from edgesplit.operations.inspection.doctor_operation import Diagnose
from edgesplit.operations.inspection.graph_operation import ShowGraph
from edgesplit.operations.inspection.status_operations import ShowActivity, ShowStatus
from edgesplit.operations.inspection.trace_operation import ShowTrace

__all__ = ["InspectionOperation"]

InspectionOperation = ShowStatus | ShowActivity | Diagnose | ShowTrace | ShowGraph
