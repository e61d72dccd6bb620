"""Headers of frames: everything that can be said on the data plane.

Owns: the headers, the bounds of their fields, and the key of the execution that a frame belongs to. Its rule: plain
values; MessagePack decodes into nothing else. Not here: their bytes (`wire/frames.py`), what follows from them.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, NamedTuple

import msgspec

from edgesplit.wire.tensors import TEXT, item_bytes

__all__ = [
    "Abort",
    "Ack",
    "Cancel",
    "ExecutionKey",
    "Failure",
    "Header",
    "Hello",
    "Infer",
    "Ping",
    "Pong",
    "Probe",
    "Result",
    "TensorHead",
    "Tensors",
    "joint_name",
]

_MAX_DIMENSIONS = 16
_MAX_TENSORS = 4096

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Shape = Annotated[tuple[Count, ...], msgspec.Meta(max_length=_MAX_DIMENSIONS)]
Name = Annotated[str, msgspec.Meta(max_length=65536)]
Word = Annotated[str, msgspec.Meta(max_length=256)]
"""What a stranger says of itself, which is logged before it is known."""
Label = Annotated[str, msgspec.Meta(max_length=1024)]
"""What tables of whoever receives it are keyed by."""
Seconds = Annotated[float, msgspec.Meta(ge=0)]
"""Not NaN either: a deadline that compares with nothing would never pass."""
Moment = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""On the sender's own clock, whose zero means nothing to others. [s]"""


class ExecutionKey(NamedTuple):
    """One request on one epoch; the same on every node it touches. On the wire its parts are fields of the header."""

    model: str
    epoch: int
    request: str

    @property
    def requests(self) -> int:
        """How many clients' requests it computes."""
        found = _JOINT.search(self.request)
        return int(found[1]) if found else 1


_JOINT = re.compile(r"\+([0-9]{1,4})$")


def joint_name(first: str, requests: int) -> str:
    """Name of what computes several clients' requests as one.

    Args:
        first: Name of one of them.
        requests: How many; 0 for a run that answers none of them.
    """
    return f"{first}+{requests}"


class TensorHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Describes one tensor of the body.

    Attributes:
        name: Its name; no two of a frame have the same.
        dtype: Numpy's name of the decoded tensor's type; `str` for texts.
        shape: Of the decoded tensor.
        nbytes: Length in the body, after coding. [B]
        codec: Wire codec in effect.
        parameters: What the codec needs to decode besides the payload.
    """

    name: Name
    dtype: str
    shape: Shape
    nbytes: Count
    codec: str = "raw"
    parameters: dict[str, float] = {}

    @property
    def decoded_bytes(self) -> int:
        """Size of the tensor itself. [B]"""
        texts_bytes = self.nbytes if self.dtype == TEXT else 0
        return math.prod(self.shape) * item_bytes(self.dtype) + texts_bytes


TensorHeads = Annotated[tuple[TensorHead, ...], msgspec.Meta(max_length=_MAX_TENSORS)]


class _Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Base of all headers; unknown keys are ignored, so that a newer peer can say more."""


class Hello(_Header, frozen=True, kw_only=True, tag="hello"):
    """First frame in both directions.

    Attributes:
        protocol: Version of control messages and frames together.
        role: Whether it sends tensors, or requests.
        node: The agent's name; empty for a program that is no agent.
        version: Of edgesplit, for messages.
        instance: Drawn at each start.
        token: What a client shows in place of a certificate; sent over TLS alone.
    """

    protocol: int
    role: Literal["agent", "client"]
    node: Word
    version: Word
    instance: Word
    token: Word = ""


class Tensors(_Header, frozen=True, kw_only=True, tag="tensors"):
    """Intermediate tensors of one request, agent to agent.

    Attributes:
        sequence: Comes back in the Ack.
        model: Name of the model.
        epoch: Number of the plan the request runs on.
        request: Identifier of the request, given by its source. Where it computes several requests of clients as one, it ends in
            `+` and their number; `+0` is a run that answers nobody.
        tensors: What the body holds, in its order.
        deadline_s: Time left for the request, None for no deadline. [s]
    """

    sequence: Count
    model: Label
    epoch: Count
    request: Label
    tensors: TensorHeads
    deadline_s: Seconds | None = None

    @property
    def key(self) -> ExecutionKey:
        """Whose tensors they are."""
        return ExecutionKey(self.model, self.epoch, self.request)


class Infer(_Header, frozen=True, kw_only=True, tag="infer"):
    """A client's request; answered by Result or Failure of the same `id`.

    Attributes:
        id: Chosen by the client; another one for each request in flight on the connection.
        model: Name of a deployed model.
        tensors: Its inputs, under their ONNX names.
        deadline_s: Time left for the request, None for no deadline. [s]
    """

    id: Count
    model: str
    tensors: TensorHeads
    deadline_s: Seconds | None = None


class Cancel(_Header, frozen=True, kw_only=True, tag="cancel"):
    """The client does not want the answer to its `Infer` of that `id` any more; one that has left may cross this.

    Attributes:
        id: That of the `Infer`.
    """

    id: Count


class Result(_Header, frozen=True, kw_only=True, tag="result"):
    """Outputs of a request.

    Attributes:
        id: That of the `Infer`.
        epoch: The plan's that computed them.
        tensors: The outputs, under their ONNX names.
        seconds: From the request's arrival to this frame. [s]
    """

    id: Count
    epoch: Count
    tensors: TensorHeads
    seconds: float = 0.0


class Failure(_Header, frozen=True, kw_only=True, tag="failure"):
    """A request failed (`id`), or, without an id, the connection is closed after this frame.

    Attributes:
        code: The condition, as in `edgesplit.errors`.
        message: One sentence.
        id: That of the `Infer`; None where the connection is closed.
    """

    code: str
    message: str
    id: Count | None = None


class Ack(_Header, frozen=True, kw_only=True, tag="ack"):
    """The frame of that sequence has arrived whole.

    Attributes:
        sequence: That of the frame.
        received_bytes: Of all bodies on this connection until now, for frames' parts may mix; 0: not said. [B]
        arrived_s: When that was, on the clock of who answers; None: not said. [s]
        begun_s: When its first part had arrived and nothing behind it yet, on that clock; None: it all came at once. [s]
        rest_bytes: Of all bodies that arrived since then. [B]
    """

    sequence: Count
    received_bytes: Count = 0
    arrived_s: Moment | None = None
    begun_s: Moment | None = None
    rest_bytes: Count = 0


class Ping(_Header, frozen=True, kw_only=True, tag="ping"):
    """Answered at once with a Pong.

    Attributes:
        sequence: Comes back in the Pong.
    """

    sequence: Count


class Pong(_Header, frozen=True, kw_only=True, tag="pong"):
    """Answers a Ping; with sequence 0 it says unasked that a long frame is still arriving.

    Attributes:
        sequence: That of the Ping; 0 where unasked.
        room_bytes: What this side has room for of requests that arise at the other; None: it sets no limit. [B]
        arrived_s: When the Ping arrived, on the clock of who answers; None: not said. [s]
    """

    sequence: Count
    room_bytes: Count | None = None
    arrived_s: Moment | None = None


class Probe(_Header, frozen=True, kw_only=True, tag="probe"):
    """Meaningless body of `padding` bytes, to measure the link; acknowledged. [B]

    Attributes:
        sequence: Comes back in the Ack.
        padding: Length of the body, zeros. [B]
    """

    sequence: Count
    padding: Count


class Abort(_Header, frozen=True, kw_only=True, tag="abort"):
    """A request cannot be completed on this epoch; `origin` is the node where it failed.

    Attributes:
        model: Name of the model.
        epoch: Number of the plan, its epoch.
        request: Identifier of the request.
        code: The condition, as in `edgesplit.errors`.
        message: One sentence.
        origin: Node where it failed.
    """

    model: Label
    epoch: Count
    request: Label
    code: str
    message: str
    origin: str

    @property
    def key(self) -> ExecutionKey:
        """What cannot be completed."""
        return ExecutionKey(self.model, self.epoch, self.request)


Header = Hello | Tensors | Infer | Cancel | Result | Failure | Ack | Ping | Pong | Probe | Abort
