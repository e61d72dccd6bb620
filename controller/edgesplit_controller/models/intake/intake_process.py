"""Process that does the work of an intake in memory of its own: import, further planning shapes, and at low priority completion.

Owns: `python -m edgesplit_controller.models.intake.intake_process`: a request on standard input, messages on standard output. Its
rule: it ends with whoever started it, and with it all memory goes back that a model took; it writes blobs, and last its result.
Not here: the steps (`stages.py`, `variants.py`), who starts it (`intake_runs.py`), trying again (`background_completion.py`).

A process rather than a thread: what it computes holds the interpreter's lock now and then for tenths of a second, in which the
controller would answer nobody; onnxruntime's arenas and the allocator keep what they once had; and a kernel that crashes on
a user's model must not end the controller.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgesplit.errors import EdgesplitError, UnknownModel, first_line
from edgesplit.names import variant_name
from edgesplit.retrying import is_passing
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import completed, first_record
from edgesplit_controller.models.intake.variants import variant
from edgesplit_controller.models.intake_messages import (
    CompletionRequest,
    FirstStageRequest,
    IntakeDone,
    IntakeFailed,
    IntakeMessage,
    IntakeProgress,
    IntakeRequest,
    ShapeRequest,
    request_of,
)
from edgesplit_controller.models.model_record import ModelRecord, calibration_of, read_record, write_record
from edgesplit_controller.models.named_shapes import combined_shapes
from edgesplit_controller.models.submission import Progress
from edgesplit_controller.storage.files.atomic_write import write_atomically

__all__ = ["Told", "carry_out", "main", "overall", "told"]

NICE = 19
"""Of what nobody waits for: agents and whatever else runs on the machine go first; where nothing else does, this takes nothing away."""
EVERY_S = 0.3
"""Between two messages on the same step. [s]"""
STEPS: dict[str, tuple[float, float]] = {
    "calibrating": (0.0, 0.03),
    "modelling the noise": (0.03, 0.55),
    "measuring wire codecs": (0.55, 0.96),
    "preparing the graphs": (0.96, 1.0),
}
"""Beginnings of what the steps are called, and their part of the whole. [1]"""


def overall(text: str, fraction: float | None) -> float:
    """How much of the whole is done when a step says so. [1]"""
    begin, end = next((part for name, part in STEPS.items() if text.startswith(name)), (0.0, 0.0))
    return begin + (end - begin) * (fraction or 0.0)


class Told:
    """Says what is being done, not more often than anybody reads; for several threads.

    Args:
        say: Takes each message.
        share: How much of the whole is done when a step says so; None where that is not known. [1]
    """

    def __init__(
        self, say: Callable[[IntakeMessage], None], share: Callable[[str, float | None], float] | None = None
    ) -> None:
        self._say = say
        self._share = share
        self._lock = threading.Lock()
        self._text = ""
        self._at_s = float("-inf")
        self._most = 0.0

    def __call__(self, text: str, fraction: float | None) -> None:
        """A step says where it is."""
        with self._lock:
            now_s = time.monotonic()
            if text == self._text and now_s - self._at_s < EVERY_S:
                return
            self._text, self._at_s = text, now_s
            if self._share is not None:
                fraction = self._most = max(self._most, self._share(text, fraction))
            self._say(IntakeProgress(what=text, fraction=fraction))


def told(request: IntakeRequest, say: Callable[[IntakeMessage], None]) -> Told:
    """Who says how a request goes: of a completion, how much of all steps is done."""
    return Told(say, overall if isinstance(request, CompletionRequest) else None)


def carry_out(request: IntakeRequest, progress: Progress) -> IntakeDone | IntakeFailed:
    """Do what is asked, and write what came of it."""
    try:
        match request:
            case FirstStageRequest():
                _begin(request, progress)
            case ShapeRequest():
                first = _stored(request.first)
                made = variant(
                    *(first, request.name, request.shapes, BlobStore(Path(request.blobs))), automatic=request.automatic
                )
                write_record(Path(request.folder) / "1", made)
            case CompletionRequest():
                _complete(request, progress)
    except OSError as error:
        return IntakeFailed(
            reason=error.strerror or str(error) or type(error).__name__, passing=is_passing(error), errno=error.errno
        )
    except EdgesplitError as error:
        return IntakeFailed(reason=str(error), passing=is_passing(error), code=error.code)
    except MemoryError as error:
        return IntakeFailed(reason=str(error) or type(error).__name__, passing=is_passing(error))
    except Exception as error:
        traceback.print_exc()
        return IntakeFailed(reason=f"a fault of edgesplit's own ({first_line(error)})", passing=False)
    return IntakeDone()


def _begin(request: FirstStageRequest, progress: Progress) -> None:
    """The first stage, of every planning shape."""
    submission, blobs = request.submission, BlobStore(Path(request.blobs))
    record = first_record(submission, blobs, progress)
    write_record(Path(request.folder) / "1", record)
    for number, shapes in enumerate(combined_shapes(submission.shapes)[1:], start=2):
        progress(f"planning shape {number}", None)
        write_record(
            Path(request.folder) / str(number), variant(record, variant_name(record.name, number), shapes, blobs)
        )


def _complete(request: CompletionRequest, progress: Progress) -> None:
    record, samples = _stored(request.folder), calibration_of(Path(request.folder))
    done = completed(record, samples, request.metrics, BlobStore(Path(request.blobs)), progress)
    write_atomically(Path(request.result), msgspec.json.encode(done.manifest))


def _stored(folder: str) -> ModelRecord:
    record = read_record(Path(folder))
    if record is None:
        raise UnknownModel("its record is gone")
    return record


def main() -> None:
    """Read a request, carry it out, and say how it goes."""
    # What libraries print must not come between the messages.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    given = os.fdopen(0, "rb", buffering=0)
    request = request_of(given.readline())
    if not isinstance(request, FirstStageRequest):
        with contextlib.suppress(OSError):
            os.nice(NICE)
    threading.Thread(target=_end_with, args=(0,), daemon=True).start()

    def say(message: IntakeMessage) -> None:
        with contextlib.suppress(BrokenPipeError):
            out.write(msgspec.json.encode(message) + b"\n")

    say(carry_out(request, told(request, say)))


def _end_with(stream: int) -> None:
    """End as soon as whoever holds the other end of a stream is gone; it is read unbuffered, so that nothing holds a lock at the end."""
    while os.read(stream, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
