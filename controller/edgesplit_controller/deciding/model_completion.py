"""Completion of models: what people are told of it, and plans that may use what became available.

Owns: these events, and the look that follows. Its rule: a model that became complete is planned again as after any change of
figures: a plan that is no better is not switched to. Not here: completing (`models/background_completion.py`), reasons to plan
again (`changes/replan_reasons.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from edgesplit.formatting import time_span
from edgesplit.operations.model_operations import CompletionRow
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.model_record import ModelRecord

__all__ = ["ModelCompletion"]


class ModelCompletion:
    """Of all models.

    Args:
        deployer: Looks at plans again.
        events: Where it is told.
        collect: Frees blobs that nobody needs.
    """

    def __init__(self, deployer: Deployer, events: EventLog, collect: Callable[[], None]) -> None:
        self._deployer = deployer
        self._events = events
        self._collect = collect

    def completing(self, model: str, row: CompletionRow) -> None:
        """It goes on."""
        left = f", about {time_span(row.left_s)} left" if row.left_s is not None else ""
        text = f"{model}: {row.what}; {row.fraction:.0%} of its completion is done{left}"
        data = {"percent": round(100 * row.fraction, 1), "left_s": row.left_s, "since_s": row.since_s}
        self._events.add("model-completing", text, model=model, data=data)

    def completion_failing(self, model: str, row: CompletionRow) -> None:
        """It failed for the first time, and is tried again."""
        again = f"; it is tried again in {time_span(row.next_try_s)}" if row.next_try_s else ""
        text = f"{model} serves in float, for its completion failed: {row.reason}{again}"
        self._events.add("completion-failing", text, model=model, data={"next_try_s": row.next_try_s})

    def completed(self, record: ModelRecord) -> None:
        """A model's completed record took the place of the first."""
        manifest = record.manifest
        count, tensors, r2 = len(manifest.quantizable), len(manifest.codecs), manifest.noise_report.r2_test
        int8 = f"{count} operators may run in int8" if count else "no operator runs in int8"
        fit = f" (R² {r2:.3g})" if r2 is not None else ""
        reasons = "".join(f"; {text}" for text in manifest.warnings if text not in record.graph.notes)
        text = f"{record.name} is complete: {int8}{fit}, codecs are known for {tensors} tensors{reasons}"
        data = {"quantizable": count, "r2_test": r2, "codec_tensors": tensors}
        self._events.add("model-completed", text, model=record.name, data=data)
        self._deployer.look_anew(record.name)

    def completion_ended(self, _model: str, /) -> None:
        """Nothing is done for a model any more, whatever came of it."""
        self._collect()
