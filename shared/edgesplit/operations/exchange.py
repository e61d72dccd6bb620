"""Exchange between splitctl and the controller: requests, replies, their topics, and the form of an operation.

Owns: what carries any operation and any answer. Its rule: it knows none of them, so that whoever lists topics needs no messages of splitctl's. Not
here: the operations (beside this, by subject), all of them (`operation.py`).
"""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from edgesplit.mqtt.topic import LARGE_BYTES, Topic

__all__ = ["OPERATION_REQUEST", "REPLY", "OperationRequest", "Reply", "TaggedOperation"]


class TaggedOperation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """Base of operations; the tag `op` is the class's name in kebab case."""


class OperationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request; the reply comes on the topic of its replies.

    Attributes:
        id: Drawn for each request; its replies carry it.
        protocol: Version of control messages and frames together, of the client.
        operation: An `Operation`, not looked at with the rest: a newer client's may be unknown to the controller.
    """

    id: str
    protocol: int
    operation: msgspec.Raw

    @classmethod
    def of(cls, operation: TaggedOperation, *, identifier: str, protocol: int) -> Self:
        """The request for an operation."""
        return cls(id=identifier, protocol=protocol, operation=msgspec.Raw(msgspec.json.encode(operation)))


OPERATION_REQUEST = Topic(
    "requests/{client}",
    OperationRequest,
    says="what splitctl asks of the controller",
    writers=("splitctl",),
    readers=("controller",),
    signer="operator",
    limit_bytes=LARGE_BYTES,
)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Any number of `progress` replies (the first at once, as a sign of life), then one `result` or `failure`.

    Attributes:
        id: Of the request.
        kind: Which of those this is.
        text: Progress: what is being done. Failure: the sentence.
        fraction: Progress: done share of this step, or None where unknown. [1]
        value: Result: the document.
        code: Failure: `EdgesplitError.code`.
        exit_code: Failure: what splitctl exits with.
    """

    id: str
    kind: Literal["progress", "result", "failure"]
    text: str = ""
    fraction: float | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    exit_code: int = 1


REPLY = Topic(
    "replies/{client}",
    Reply,
    says="what the controller answers splitctl",
    writers=("controller",),
    readers=("splitctl",),
    signer="controller",
)
