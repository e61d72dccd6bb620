"""What leaves this node for a request: its tensors, or all of it.

Owns: the actions made of routes and of the deployment. Its rule: pure; a tensor leaves once for all its receivers, coded or
raw as its route says, with the time that is left. Not here: when (`serving/machine/request_flow.py`), the sending (`serving/engine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesplit.control.plan_messages import Deployment, Route
from edgesplit.errors import EdgesplitError, NotDeployed, UnknownModel
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.actions import Action, FailRequest, ForwardRequest, SendCoded, SendTensors
from edgesplit_agent.serving.machine.events import RequestArrived
from edgesplit_agent.serving.machine.execution import RAW, Execution, deliveries

__all__ = ["passed_on", "sends"]


def sends(execution: Execution, routes: Sequence[Route], tensors: Mapping[str, Array], now_s: float) -> list[Action]:
    """Tensors to the nodes that their routes name."""
    remaining_s = max(execution.expires_at_s - now_s, 0.0)
    raw: list[Action] = [
        SendTensors(execution.key, peer, part, remaining_s) for peer, part in deliveries(routes, tensors).items()
    ]
    return raw + [
        SendCoded(
            execution.key,
            route.tensor,
            tensors[route.tensor],
            route.codec,
            route.to,
            deadline_s=remaining_s,
            order=execution.order,
        )
        for route in routes
        if route.codec != RAW and route.tensor in tensors
    ]


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
