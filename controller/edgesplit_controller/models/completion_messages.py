"""Messages between the controller and the process that completes a model's intake: one request in, lines of JSON out.

Owns: these messages. Its rule: values only; both sides are of one release. Not here: the process (`completion_process.py`), who
starts it (`background_completion.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["CompletionDone", "CompletionFailed", "CompletionMessage", "CompletionProgress", "CompletionRequest"]


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to complete.

    Attributes:
        folder: Where the model's record of the first stage lies.
        blobs: Where blobs lie.
        metrics: Metrics that may be named (`[models] metrics`).
        result: The file to write the completed manifest to.
    """

    folder: str
    blobs: str
    metrics: tuple[str, ...]
    result: str


class CompletionProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """What is being done.

    Attributes:
        what: In a few words.
        fraction: Of all there is to do. [1]
    """

    what: str
    fraction: float


class CompletionDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The manifest is written."""


class CompletionFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It failed.

    Attributes:
        reason: One sentence.
        passing: It may succeed when it is tried again.
        died: The process said nothing of it.
    """

    reason: str
    passing: bool
    died: bool = False


CompletionMessage = CompletionProgress | CompletionDone | CompletionFailed
