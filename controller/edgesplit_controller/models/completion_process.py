"""Process that completes a model's intake: calibration, int8, noise, codecs, at low priority and in memory of its own.

Owns: `python -m edgesplit_controller.models.completion_process`: a request on standard input, messages on standard output. Its
rule: it ends with whoever started it, and with it all memory goes back that noise took; it writes blobs, and last its result.
Not here: the steps (`intake.py`), trying again (`background_completion.py`).

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

from edgesplit.errors import EdgesplitError, first_line
from edgesplit.retrying import is_passing
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.completion_messages import (
    CompletionDone,
    CompletionFailed,
    CompletionMessage,
    CompletionProgress,
    CompletionRequest,
)
from edgesplit_controller.models.intake import completed
from edgesplit_controller.models.model_record import calibration_of, read_record
from edgesplit_controller.models.submission import Progress
from edgesplit_controller.storage.atomic_write import write_atomically

__all__ = ["Told", "carry_out", "main", "overall"]

NICE = 19
"""Agents and whatever else runs on the machine go first; on one with nothing to do this takes nothing away."""
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
    """

    def __init__(self, say: Callable[[CompletionMessage], None]) -> None:
        self._say = say
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
            self._most = max(self._most, overall(text, fraction))
            self._say(CompletionProgress(what=text, fraction=self._most))


def carry_out(request: CompletionRequest, progress: Progress) -> CompletionDone | CompletionFailed:
    """Complete a model and write its manifest."""
    try:
        record = read_record(Path(request.folder))
        if record is None:
            return CompletionFailed(reason="its record is gone", passing=False)
        blobs = BlobStore(Path(request.blobs))
        done = completed(record, calibration_of(Path(request.folder)), request.metrics, blobs, progress)
        write_atomically(Path(request.result), msgspec.json.encode(done.manifest))
    except (EdgesplitError, OSError, MemoryError) as error:
        return CompletionFailed(reason=str(error) or type(error).__name__, passing=is_passing(error))
    except Exception as error:
        traceback.print_exc()
        return CompletionFailed(reason=f"a fault of edgesplit's own ({first_line(error)})", passing=False)
    return CompletionDone()


def main() -> None:
    """Read a request, carry it out, and say how it goes."""
    # What libraries print must not come between the messages.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    given = os.fdopen(0, "rb", buffering=0)
    request = msgspec.json.decode(given.readline(), type=CompletionRequest)
    threading.Thread(target=_end_with, args=(0,), daemon=True).start()

    def say(message: CompletionMessage) -> None:
        with contextlib.suppress(BrokenPipeError):
            out.write(msgspec.json.encode(message) + b"\n")

    say(carry_out(request, Told(say)))


def _end_with(stream: int) -> None:
    """End as soon as whoever holds the other end of a stream is gone; it is read unbuffered, so that nothing holds a lock at the end."""
    while os.read(stream, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
