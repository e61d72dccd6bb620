"""Records by the names of deployments: NAME~SOURCE has that of NAME, under its own name.

Owns: this view. Its rule: whoever plans or deploys finds a record here and need not know how many sources its model has. Not
here: the records (`catalog.py`), what nodes say of a model whatever its source (`fleet`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from edgesplit.names import planned_name
from edgesplit_controller.models.model_record import ModelRecord

__all__ = ["DeployedRecords"]


class DeployedRecords(Mapping[str, ModelRecord]):
    """A view of all records; it iterates over their own names.

    Args:
        records: By the names of models and planning shapes.
    """

    def __init__(self, records: Mapping[str, ModelRecord]) -> None:
        self._records = records
        self._renamed: dict[str, tuple[ModelRecord, ModelRecord]] = {}

    def __getitem__(self, name: str) -> ModelRecord:
        """See `Mapping`."""
        record = self._records[planned_name(name)]
        if record.name == name:
            return record
        known = self._renamed.get(name)
        if known is None or known[0] is not record:
            manifest = msgspec.structs.replace(record.manifest, name=name)
            known = self._renamed[name] = record, ModelRecord(manifest, record.graph)
        return known[1]

    def __iter__(self) -> Iterator[str]:
        """See `Mapping`."""
        return iter(self._records)

    def __len__(self) -> int:
        """See `Mapping`."""
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        """Whether a name is that of a model, a planning shape, or a deployment of one."""
        return isinstance(name, str) and planned_name(name) in self._records
