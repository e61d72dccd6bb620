"""What people see of a model's network: a unit a line.

Owns: this table. Its rule: names are shown as they are, never read as markup. Not here: where units run (`cli/views/plan_view.py`), JSON.
"""

from __future__ import annotations

from edgesplit.formatting import UNKNOWN, number, size
from edgesplit.operations.inspection.graph_operation import GraphDocument
from edgesplit_controller.cli.views.layout import console, plain_table

__all__ = ["show_graph"]


def show_graph(document: GraphDocument) -> None:
    """Print the table of `splitctl model graph`."""
    table = plain_table("", ("unit", "operators", "reads"), ("operations", "weights", "hands on"), ("reads",))
    read: dict[int, dict[str, None]] = {unit.id: {} for unit in document.units}
    handed: dict[int, dict[str, int]] = {unit.id: {} for unit in document.units}
    for edge in document.edges:
        read[edge.to][document.units[edge.from_].name] = None
        handed[edge.from_][edge.tensor] = edge.nbytes
    for end in document.inputs:
        for reader in end.units:
            read[reader][end.tensor] = None
    for end in document.outputs:
        for maker in end.units:
            handed[maker][end.tensor] = end.nbytes
    for unit in document.units:
        table.add_row(
            unit.name,
            " ".join(unit.kinds),
            ", ".join(read[unit.id]) or UNKNOWN,
            number(unit.flops),
            size(unit.weight_bytes),
            size(sum(handed[unit.id].values())),
        )
    out = console()
    out.print(table)
    out.print(f"{document.model}: {len(document.units)} units, {len(document.edges)} ways of tensors between them")
