"""Messages between the controller and the process that does the work of an intake: one request in, lines of JSON out.

Owns: these messages. Its rule: values only; both sides are of one release. Not here: the process (`intake/intake_process.py`), who
starts it (`intake_runs.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edgesplit.errors import EdgesplitError, error_from_code
from edgesplit_controller.models.submission import Submission

__all__ = [
    "CompletionRequest",
    "FirstStageRequest",
    "IntakeDone",
    "IntakeFailed",
    "IntakeMessage",
    "IntakeProgress",
    "IntakeRequest",
    "ShapeRequest",
    "request_line",
    "request_of",
]


class FirstStageRequest(msgspec.Struct, frozen=True, kw_only=True, tag="first-stage"):
    """Make the records of a model that can be deployed in float, one for each planning shape.

    Attributes:
        folder: Receives them, each in a folder of its own that is named by its number.
        blobs: Where blobs lie.
    """

    folder: str
    blobs: str
    submission: Submission

    @classmethod
    def of(cls, submission: Submission, folder: Path, blobs: Path) -> FirstStageRequest:
        """What is asked for a submission."""
        return cls(folder=str(folder), blobs=str(blobs), submission=submission)


class ShapeRequest(msgspec.Struct, frozen=True, kw_only=True, tag="shape"):
    """Make the record of a further planning shape.

    Attributes:
        folder: Receives it, as the first stage's.
        blobs: Where blobs lie.
        first: Where the model's own record lies.
        name: Of the planning shape.
        shapes: Of inputs with open axes.
        automatic: Whether no user named it.
    """

    folder: str
    blobs: str
    first: str
    name: str
    shapes: dict[str, tuple[int, ...]]
    automatic: bool


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True, tag="completion"):
    """Look into int8, noise and codecs of a model.

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


IntakeRequest = FirstStageRequest | ShapeRequest | CompletionRequest


def request_line(request: IntakeRequest) -> bytes:
    """A request as the process reads it, its end of line included."""
    return msgspec.json.encode(request, enc_hook=os.fspath) + b"\n"


def request_of(line: bytes) -> IntakeRequest:
    """The request in a line.

    Raises:
        msgspec.DecodeError: It is none.
    """
    request: IntakeRequest = msgspec.json.decode(line, type=IntakeRequest, dec_hook=_path_of)
    return request


def _path_of(kind: type[Path], text: str) -> Path:
    return kind(text)


class IntakeProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """What is being done.

    Attributes:
        what: In a few words.
        fraction: Of all there is to do; None where that is not known. [1]
    """

    what: str
    fraction: float | None


class IntakeDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """What was asked for is written."""


class IntakeFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It failed.

    Attributes:
        reason: One sentence.
        passing: It may succeed when it is tried again.
        died: The process said nothing of it.
        code: Of the error.
        errno: Of an error of the operating system; None of any other.
    """

    reason: str
    passing: bool
    died: bool = False
    code: str = EdgesplitError.code
    errno: int | None = None

    @property
    def error(self) -> EdgesplitError | OSError:
        """The error again."""
        if self.errno is not None:
            return OSError(self.errno, self.reason)
        return error_from_code(self.code, self.reason)


IntakeMessage = IntakeProgress | IntakeDone | IntakeFailed
