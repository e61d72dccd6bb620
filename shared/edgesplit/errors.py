"""Errors that edgesplit raises on purpose, named for their condition.

Owns: the tree below. Its rule: one class per condition a caller can act on; the message is one sentence that
names the cause and what to do. Not here: retries, logging, exit handling.

    EdgesplitError
    ├── InvalidConfiguration        a key of a daemon's configuration is wrong
    ├── InvalidInput                what the user handed over cannot be used
    │   ├── InvalidModel            the ONNX file is corrupt or cannot be served
    │   ├── InvalidCalibration      calibration samples do not fit the model
    │   ├── InvalidMetric           a user's noise metric cannot be had, or gives nonsense
    │   ├── InvalidProblem          a problem file is malformed
    │   └── InvalidTensor           a request's tensor has the wrong name, dtype or shape
    │       └── SizesRefused        the model does not run at the sizes of a request, or no node can hold them
    ├── UnknownModel, UnknownNode, ModelExists, NotDeployed
    ├── NotProfiledYet              nothing is known of how fast a node computes the model
    ├── NameTaken                   another program holds this one's name
    ├── NotTrusted                  somebody could not prove to be who may do this
    ├── PlanInfeasible              no plan satisfies the constraints, proven (exit 3)
    ├── PlanningTimedOut            no plan was found in time; whether there is one remains open
    ├── SolverRefused               the solver does not take what the planner made of a problem: an error of ours
    ├── Unreachable                 somebody did not answer
    │   ├── BrokerUnreachable       (exit 4)
    │   ├── ControllerUnreachable   (exit 4)
    │   ├── NodeUnreachable         an agent does not accept connections
    │   └── PeerUnreachable         an agent lost another agent
    ├── ProtocolError               the other side does not keep to the protocol
    │   ├── ProtocolMismatch        it speaks another version
    │   ├── MalformedMessage        a control-plane payload does not decode
    │   ├── FrameMalformed, FrameTruncated, FrameTooLarge
    ├── ArtifactError
    │   ├── ArtifactMissing         nobody has the blob
    │   ├── ArtifactCorrupt         its bytes do not hash to its name
    │   └── CacheUnwritable         the folder of blobs takes no more
    ├── PreparationFailed           an agent could not build a component
    │   └── RuntimeStarved          for want of memory, disk or files, at the moment
    ├── ChangeUnderWay              another change of the model has not ended yet
    ├── StoreUnwritable             the controller's folder takes no writes now; nothing was changed
    ├── NodeOnline                  what was asked needs a node that is away
    └── RequestFailed               a request was accepted and could not be completed
        ├── RequestTimedOut
        └── Overloaded               the source admits no more requests now

Wrong use of the command line is click's UsageError (exit 2), not one of these.
"""

from __future__ import annotations

__all__ = [
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "BrokerUnreachable",
    "CacheUnwritable",
    "ChangeUnderWay",
    "ControllerUnreachable",
    "EdgesplitError",
    "FrameMalformed",
    "FrameTooLarge",
    "FrameTruncated",
    "InvalidCalibration",
    "InvalidConfiguration",
    "InvalidInput",
    "InvalidMetric",
    "InvalidModel",
    "InvalidProblem",
    "InvalidTensor",
    "MalformedMessage",
    "ModelExists",
    "NameTaken",
    "NodeOnline",
    "NodeUnreachable",
    "NotDeployed",
    "NotProfiledYet",
    "NotTrusted",
    "Overloaded",
    "PeerUnreachable",
    "PlanInfeasible",
    "PlanningTimedOut",
    "PreparationFailed",
    "ProtocolError",
    "ProtocolMismatch",
    "RequestFailed",
    "RequestTimedOut",
    "RuntimeStarved",
    "SizesRefused",
    "SolverRefused",
    "StoreUnwritable",
    "UnknownModel",
    "UnknownNode",
    "Unreachable",
    "error_from_code",
    "first_line",
]


class EdgesplitError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        code: Stable kebab-case name of the condition, as in `--json` errors and on the wire.
        exit_code: What splitctl exits with.
        passing: The same may succeed later without anybody changing what was asked.
    """

    code = "error"
    exit_code = 1
    passing = False


class InvalidConfiguration(EdgesplitError):
    """A key of a daemon's configuration is wrong."""

    code = "invalid-configuration"


class InvalidInput(EdgesplitError):
    """What the user handed over cannot be used."""

    code = "invalid-input"


class InvalidModel(InvalidInput):
    """The ONNX file is corrupt or holds what cannot be served."""

    code = "invalid-model"


class InvalidCalibration(InvalidInput):
    """Calibration samples do not fit the model's inputs."""

    code = "invalid-calibration"


class InvalidMetric(InvalidInput):
    """A user's noise metric is not allowed, cannot be imported, or gives what is no noise."""

    code = "invalid-metric"


class InvalidProblem(InvalidInput):
    """A problem file is malformed; the message names the entry."""

    code = "invalid-problem"


class InvalidTensor(InvalidInput):
    """A request's tensor has the wrong name, dtype or shape."""

    code = "invalid-tensor"


class SizesRefused(InvalidTensor):
    """The model does not run at the sizes of a request, or a node could not hold its tensors even alone."""

    code = "sizes-refused"


class UnknownModel(EdgesplitError):
    """No model of that name was added."""

    code = "unknown-model"


class UnknownNode(EdgesplitError):
    """No node of that name is registered."""

    code = "unknown-node"


class ModelExists(EdgesplitError):
    """A model of that name was added before and `--replace` was not given."""

    code = "model-exists"


class NameTaken(EdgesplitError):
    """Another program is registered under this one's name and serves on."""

    code = "name-taken"


class NotTrusted(EdgesplitError):
    """Somebody could not prove to be one who may do this: no certificate, another's, one that ended, a wrong signature or token."""

    code = "not-trusted"


class NotDeployed(EdgesplitError):
    """The model is known but not deployed, or not served by this node."""

    code = "not-deployed"


class NotProfiledYet(EdgesplitError):
    """The source has no execution times of the model yet."""

    code = "not-profiled-yet"


class PlanInfeasible(EdgesplitError):
    """No plan satisfies the constraints."""

    code = "plan-infeasible"
    exit_code = 3


class PlanningTimedOut(EdgesplitError):
    """Time ran out before any plan was known; whether there is one remains open."""

    code = "planning-timed-out"


class SolverRefused(EdgesplitError):
    """The solver does not take the planner's model; an error of the planner, with the solver's message."""

    code = "solver-refused"


class Unreachable(EdgesplitError):
    """Somebody did not answer."""

    code = "unreachable"
    passing = True


class BrokerUnreachable(Unreachable):
    """The MQTT broker does not accept the connection."""

    code = "broker-unreachable"
    exit_code = 4


class ControllerUnreachable(Unreachable):
    """The broker answers but no controller does."""

    code = "controller-unreachable"
    exit_code = 4


class NodeUnreachable(Unreachable):
    """An agent does not accept connections."""

    code = "node-unreachable"


class PeerUnreachable(Unreachable):
    """An agent lost another agent."""

    code = "peer-unreachable"


class ProtocolError(EdgesplitError):
    """The other side does not keep to the protocol."""

    code = "protocol-error"


class ProtocolMismatch(ProtocolError):
    """The other side speaks another protocol version."""

    code = "protocol-mismatch"


class MalformedMessage(ProtocolError):
    """A control-plane payload does not decode to its type."""

    code = "malformed-message"


class FrameMalformed(ProtocolError):
    """A data-plane frame's bytes make no sense."""

    code = "frame-malformed"


class FrameTruncated(ProtocolError):
    """The peer closed in the middle of a frame."""

    code = "frame-truncated"


class FrameTooLarge(ProtocolError):
    """A frame announces more bytes than this side accepts."""

    code = "frame-too-large"


class ArtifactError(EdgesplitError):
    """A blob cannot be had."""

    code = "artifact-error"
    passing = True


class ArtifactMissing(ArtifactError):
    """Nobody has the blob."""

    code = "artifact-missing"


class ArtifactCorrupt(ArtifactError):
    """A blob's bytes do not hash to its name."""

    code = "artifact-corrupt"


class CacheUnwritable(ArtifactError):
    """The folder of blobs is full, or may not be written."""

    code = "cache-unwritable"


class PreparationFailed(EdgesplitError):
    """An agent could not build a component."""

    code = "preparation-failed"


class RuntimeStarved(PreparationFailed):
    """The runtime lacked memory, room on disk or files at that moment."""

    code = "runtime-starved"
    passing = True


class ChangeUnderWay(EdgesplitError):
    """Another change of the model has not ended yet."""

    code = "change-under-way"


class StoreUnwritable(EdgesplitError):
    """The controller's folder takes no writes now; what was asked changed nothing."""

    code = "store-unwritable"


class NodeOnline(EdgesplitError):
    """What was asked needs a node that is away."""

    code = "node-online"


class RequestFailed(EdgesplitError):
    """A request was accepted and could not be completed."""

    code = "request-failed"


class RequestTimedOut(RequestFailed):
    """A request's deadline passed."""

    code = "request-timed-out"


class Overloaded(RequestFailed):
    """The source admits no more requests now."""

    code = "overloaded"


def _tree(root: type[EdgesplitError]) -> list[type[EdgesplitError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def error_from_code(code: str, message: str) -> EdgesplitError:
    """Rebuild an error that crossed a wire.

    Args:
        code: The `code` of its class; an unknown one (a newer peer's) becomes the root class.
        message: Its sentence.
    """
    return next((cls for cls in _tree(EdgesplitError) if cls.code == code), EdgesplitError)(message)


def first_line(error: BaseException) -> str:
    """What an error of any kind says, in one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
