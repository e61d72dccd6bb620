"""Documents that a controller really answered about the shipped model, on which the page's logic is tried: they are what is answered today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgesplit.operations.inspection.graph_operation import GraphDocument
from edgesplit.operations.inspection.trace_operation import TraceDocument
from edgesplit.operations.plan_operations import PlanDocument
from edgesplit.operations.study_operations import ExplainDocument, FrontierDocument, WhatIfDocument

RECORDED = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("graph", GraphDocument),
        ("plan", PlanDocument),
        ("explain", ExplainDocument),
        ("what-if", WhatIfDocument),
        ("frontier", FrontierDocument),
        ("trace", TraceDocument),
    ],
)
def test_a_recorded_document_has_no_key_that_is_not_answered_any_more(name: str, kind: type[Any]) -> None:
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    answered = msgspec.to_builtins(msgspec.convert(recorded, kind))
    assert _without(recorded, answered) == []


def _without(recorded: Any, answered: Any, place: str = "") -> list[str]:
    """Keys of `recorded` that `answered` has not, and values that are others there."""
    if isinstance(recorded, dict) and isinstance(answered, dict):
        return [
            text
            for key, value in recorded.items()
            for text in (
                _without(value, answered[key], f"{place}.{key}") if key in answered else [f"{place}.{key} is unknown"]
            )
        ]
    if isinstance(recorded, list) and isinstance(answered, list | tuple) and len(recorded) == len(answered):
        return [
            text
            for index, (old, new) in enumerate(zip(recorded, answered, strict=True))
            for text in _without(old, new, f"{place}[{index}]")
        ]
    return [] if recorded == answered else [f"{place} is {answered!r}, not {recorded!r}"]
