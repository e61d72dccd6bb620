"""Requests of clients at the source, across their attempts.

Owns: the record of each, what they hold together, and what becomes of a request whose model has its source elsewhere or
nowhere. Its rule: a request keeps its inputs until it ends, so that it can be run again elsewhere. Not here: who is
admitted (`admission.py`), what moves a request on (`request_flow.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgesplit.control.plan_messages import Deployment
from edgesplit.errors import EdgesplitError, NotDeployed, SizesRefused, UnknownModel
from edgesplit.names import base_name
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.actions import Action, CompleteRequest, FailRequest, ForwardRequest
from edgesplit_agent.serving.machine.admitting.admission import Held
from edgesplit_agent.serving.machine.admitting.footprints import Footprint
from edgesplit_agent.serving.machine.epochs import ModelEpochs
from edgesplit_agent.serving.machine.events import RequestArrived

__all__ = ["ClientRequest", "RequestTable", "passed_on"]

NOTHING_HELD = Held(0, 0, 0)


@dataclass(slots=True)
class ClientRequest:
    """One request.

    Attributes:
        open_inputs: Those of the model's inputs that have open axes, as they were when it came.
        arrays: By their names.
        arrived_s: On the machine's clock. [s]
        deadline_s: From its arrival. [s]
        epoch: It runs on now; None while it waits for one to be ready.
        failed_epochs: Epochs it was tried on in vain.
        left_shapes: Planning shapes whose plans could not serve it.
        footprint: What its tensors may take, here and elsewhere, at a time.
        gathered: It waits for others to be joined with.
        joint: Name of the joint request that it is computed in; empty where it is computed by itself.
    """

    request: str
    model: str
    open_inputs: Sequence[TensorSpec]
    arrays: Mapping[str, Array]
    arrived_s: float
    deadline_s: float
    footprint: Footprint
    epoch: int | None = None
    failed_epochs: set[int] = field(default_factory=set[int])
    gathered: bool = False
    joint: str = ""
    left_shapes: set[str] = field(default_factory=set[str])

    @property
    def expires_at_s(self) -> float:
        """When its time is up. [s on the machine's clock]"""
        return self.arrived_s + self.deadline_s

    @property
    def key(self) -> ExecutionKey | None:
        """Of its present attempt."""
        return None if self.epoch is None else ExecutionKey(self.model, self.epoch, self.joint or self.request)

    def move(self, model: str, open_inputs: Sequence[TensorSpec]) -> None:
        """Wait for the plan of another planning shape.

        Args:
            model: Its name.
            open_inputs: Its inputs that have open axes.
        """
        self.model, self.open_inputs, self.epoch = model, open_inputs, None
        self.failed_epochs.clear()

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of its inputs that have open axes."""
        return {spec.name: self.arrays[spec.name].shape for spec in self.open_inputs}

    @property
    def as_planned(self) -> bool:
        """Whether its sizes are those that are planned for."""
        return not self.open_inputs or all(spec.is_planned(self.arrays[spec.name].shape) for spec in self.open_inputs)

    def answer(self, epoch: int, outputs: Mapping[str, Array], now_s: float) -> CompleteRequest:
        """What its caller gets.

        Args:
            epoch: That computed it.
            outputs: What came of it.
            now_s: The machine's clock. [s]
        """
        # Joined, it took what no plan says, whatever its sizes.
        as_planned = not self.joint and self.as_planned
        latency_s = now_s - self.arrived_s
        return CompleteRequest(self.request, self.model, epoch, outputs, latency_s, self.sizes, as_planned)

    def refused_for(self, cause: str) -> SizesRefused:
        """What its caller hears where the model does not run at its sizes.

        Args:
            cause: What the runtime said.
        """
        asked = ", ".join(f"{name} {list(shape)}" for name, shape in self.sizes.items())
        planned = ", ".join(f"{spec.name} {list(spec.typical)}" for spec in self.open_inputs)
        return SizesRefused(
            f"model {base_name(self.model)!r} does not run at {asked} ({planned} was planned for): {cause}"
        )


class RequestTable(dict[str, ClientRequest]):
    """Requests that have not ended, by id."""

    def waiting(self, model: str) -> list[ClientRequest]:
        """Those of a model that wait for an epoch to be ready."""
        return [
            request
            for request in self.values()
            if request.model == model and request.epoch is None and not request.gathered
        ]

    def expired(self, now_s: float) -> list[ClientRequest]:
        """Those whose time is up."""
        return [request for request in self.values() if now_s >= request.expires_at_s]

    def held(self, model: str, models: Mapping[str, ModelEpochs], *, on_peers: bool) -> Held:
        """What they hold.

        Args:
            model: Whose share is wanted, too.
            models: The node's, by name.
            on_peers: Whether it is asked what they may take on other nodes.
        """
        if not self:
            return NOTHING_HELD
        taken: Counter[str] = Counter()
        here = of_model = 0
        for request in self.values():
            footprint = request.footprint
            here += footprint.here
            if request.model == model:
                of_model += footprint.here
            if on_peers and (
                request.gathered or (request.epoch is not None and request.epoch in models[request.model].held)
            ):
                taken.update(footprint.on_peers)
        return Held(len(self), here, of_model, taken)


def passed_on(event: RequestArrived, node: str, deployment: Deployment | None, *, known: bool) -> Action:
    """A request that does not start here: to the model's source, or refused where there is none.

    Args:
        event: The request.
        node: This one.
        deployment: Of the model.
        known: Whether the model is at least offered.
    """
    if deployment is not None and deployment.source != node:
        return ForwardRequest(event.request, event.model, deployment.advertise, event.arrays, event.deadline_s)
    error: EdgesplitError
    if known or deployment is not None:
        error = NotDeployed(f"model {event.model!r} is not deployed: start it with splitctl deploy")
    else:
        error = UnknownModel(f"no model {event.model!r} is known to {node}: see splitctl model list")
    return FailRequest(event.request, event.model, None, error)
