"""Energy report: what a plan costs each node, predicted beside measured.

Owns: these rows, for splitctl and Prometheus alike. Its rule: a measured figure is a mean over served requests and keeps
its origin; what is not known is None. Not here: sums (`fleet/usage_sums.py`), totals of a plan (`answering/plan_documents.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgesplit.control.figure_messages import Usage
from edgesplit.operations.plan_operations import EnergyRow
from edgesplit_controller.planner import energy_per_node
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["energy_rows"]


def energy_rows(plan: PlanRecord, usage: Sequence[Usage]) -> dict[str, EnergyRow]:
    """By node, those that neither work nor are paid for left out.

    Args:
        plan: The plan.
        usage: What serving it cost so far, one entry a node.
    """
    predicted = energy_per_node(plan.problem, plan.assignment)
    spent = {entry.node: entry for entry in usage if entry.requests > 0}
    rows: dict[str, EnergyRow] = {}
    for node in dict.fromkeys([*predicted, *spent]):
        compute_j, transmit_j = predicted.get(node, (0.0, 0.0))
        row = _measured(EnergyRow(predicted_compute_j=compute_j, predicted_transmit_j=transmit_j), spent.get(node))
        if compute_j or transmit_j or row.requests:
            rows[node] = row
    return rows


def _measured(row: EnergyRow, spent: Usage | None) -> EnergyRow:
    if spent is None:
        return row
    return msgspec.structs.replace(
        row,
        requests=spent.requests,
        compute_j=spent.compute_energy_j / spent.requests,
        compute_origin=spent.compute_energy_origin,
        transmit_j=spent.transmit_energy_j / spent.requests,
        transmit_origin="configured",
    )
