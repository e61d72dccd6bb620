"""Every MQTT topic, in one place.

Owns: the topic tree below `edgesplit/1/`. Its rule: nobody else spells a topic. Not here: payloads
(`control/messages.py`, `control/profile_messages.py`, `requests.py`) and the connection (`mqtt/bus.py`).

    edgesplit/1/
    ├── controller/status                  retained, last will   ControllerStatus
    ├── controller/claim                   -                     Claim: a controller that wants to be the one
    ├── models/MODEL                       retained              ModelOffer: what every node profiles
    ├── deployments/MODEL                  retained              Deployment: who the source is
    ├── nodes/NODE/status                  retained, last will   NodeStatus
    ├── nodes/NODE/claim                   -                     Claim: an agent that wants the name
    ├── nodes/NODE/metrics                 retained              NodeMetrics
    ├── nodes/NODE/links                   retained              LinkMetrics
    ├── nodes/NODE/profiles/MODEL          retained              ProfileReport
    ├── nodes/NODE/profile-requests        -                     ProfileRequest: measure a model once more
    ├── nodes/NODE/timings/MODEL          retained              LiveTimings: what runs took lately
    ├── nodes/NODE/desired/MODEL           retained              Desired: what should be
    ├── nodes/NODE/observed/MODEL          retained              Observed: what is
    ├── nodes/NODE/usage/MODEL             -                     Usage: what serving cost so far
    ├── nodes/NODE/noise/MODEL             retained              NoiseReport: noise of served requests
    ├── events/ORIGIN                      -                     Event
    ├── requests/CLIENT                    -                     Request from splitctl
    └── replies/CLIENT                     -                     Reply to it
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesplit.names import ModelName, NodeName

__all__ = [
    "ANY",
    "CONTROLLER_CLAIM",
    "CONTROLLER_STATUS",
    "NODE_KINDS",
    "ROOT",
    "all_of_node",
    "claim",
    "deployment",
    "desired",
    "event",
    "last_parts",
    "links",
    "metrics",
    "model",
    "node_and_model",
    "noise",
    "observed",
    "of_node",
    "profile",
    "profile_requests",
    "reply",
    "request",
    "status",
    "timings",
    "usage",
]

ROOT = "edgesplit/1"
ANY = "+"
"""Stands for any one name when a topic is subscribed to."""
NODE_KINDS = {
    "status": False,
    "claim": False,
    "metrics": False,
    "links": False,
    "profile-requests": False,
    "profiles": True,
    "timings": True,
    "desired": True,
    "observed": True,
    "usage": True,
    "noise": True,
}
"""Kinds of topics below `nodes/NODE/`, and whether there is one for each model; all others are derived from it."""
CONTROLLER_STATUS = f"{ROOT}/controller/status"
CONTROLLER_CLAIM = f"{ROOT}/controller/claim"


def model(name: ModelName | str) -> str:
    """Topic of the model's offer to the nodes."""
    return f"{ROOT}/models/{name}"


def deployment(name: ModelName | str) -> str:
    """Topic that says who the source of a deployed model is."""
    return f"{ROOT}/deployments/{name}"


def status(node: NodeName | str) -> str:
    """Topic of a node's registration; its last will says offline."""
    return _of_node(node, "status")


def claim(node: NodeName | str) -> str:
    """Topic on which an agent claims a node's name."""
    return _of_node(node, "claim")


def metrics(node: NodeName | str) -> str:
    """Topic of a node's compute and power figures."""
    return _of_node(node, "metrics")


def links(node: NodeName | str) -> str:
    """Topic of the links that leave a node."""
    return _of_node(node, "links")


def profile(node: NodeName | str, name: ModelName | str) -> str:
    """Topic of a node's execution profile of a model."""
    return _of_node(node, "profiles", name)


def profile_requests(node: NodeName | str) -> str:
    """Topic on which a node is asked to profile a model again."""
    return _of_node(node, "profile-requests")


def timings(node: NodeName | str, name: ModelName | str) -> str:
    """Topic of what runs of a model took on a node lately."""
    return _of_node(node, "timings", name)


def desired(node: NodeName | str, name: ModelName | str) -> str:
    """Topic of what a node should hold and serve of a model."""
    return _of_node(node, "desired", name)


def observed(node: NodeName | str, name: ModelName | str) -> str:
    """Topic of what a node holds and serves of a model."""
    return _of_node(node, "observed", name)


def usage(node: NodeName | str, name: ModelName | str) -> str:
    """Topic of what serving a model cost on a node."""
    return _of_node(node, "usage", name)


def noise(node: NodeName | str, name: ModelName | str) -> str:
    """Topic of the noise that a source measured on requests of a model."""
    return _of_node(node, "noise", name)


def event(origin: str) -> str:
    """Topic of what happened at `origin`, a node's name or `controller`."""
    return f"{ROOT}/events/{origin}"


def request(client: str) -> str:
    """Topic on which a client asks the controller."""
    return f"{ROOT}/requests/{client}"


def reply(client: str) -> str:
    """Topic on which the controller answers a client."""
    return f"{ROOT}/replies/{client}"


def of_node(node: NodeName | str, models: Iterable[str]) -> tuple[str, ...]:
    """Every topic there may be of a node, given the models there may be."""
    plain = [_of_node(node, kind) for kind, of_model in NODE_KINDS.items() if not of_model]
    return (
        *plain,
        *(_of_node(node, kind, model) for model in models for kind, of_model in NODE_KINDS.items() if of_model),
    )


def all_of_node(node: NodeName | str) -> str:
    """Filter of everything of a node, kinds of other releases among it."""
    return f"{ROOT}/nodes/{node}/#"


def _of_node(node: str, kind: str, model: str = "") -> str:
    return f"{ROOT}/nodes/{node}/{kind}/{model}" if NODE_KINDS[kind] else f"{ROOT}/nodes/{node}/{kind}"


def node_and_model(topic: str) -> tuple[str, str]:
    """Whom a topic below `nodes/` is about; the model is empty where there is none."""
    parts = topic.removeprefix(f"{ROOT}/nodes/").split("/")
    return parts[0], parts[2] if len(parts) > 2 else ""


def last_parts(topic: str, count: int) -> tuple[str, ...]:
    """The last `count` levels of a topic, outermost first."""
    return tuple(topic.split("/")[-count:])
