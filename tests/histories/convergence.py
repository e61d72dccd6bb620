"""What every history must come to once its world is healed, and what may never happen in it.

Owns: one consistent plan, seen the same by the controller's record, what the broker keeps and every agent's state machine; every request
answered once and rightly that its agent survives; nothing that tries without growing pauses. Its rule: the first thing that is not so is
said in one sentence. Not here: how the world got there (`history.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED, Deployment, Desired, Observed
from edgesplit.control.registration_messages import NODE_STATUS, NodeStatus
from edgesplit.errors import EdgesplitError
from edgesplit.mqtt.topic import Topic
from edgesplit_controller.rollout.desired_state import desired_states
from edgesplit_controller.storage.deployment_state import DeploymentState, State
from tests.histories.simulation.simulated_controller import SimulatedController
from tests.histories.simulation.trivial_model import answer_to
from tests.histories.world import AskedRequest, World

__all__ = ["hammering", "unconverged", "wrong_answers"]

MOST_A_MINUTE = {"fetching": 60, "planning": 60, "writing": 150}
"""Tries of one thing by one program; a first try and some that what returned hastens, of two models and a fallback each."""
LATE_S = 5.0
"""Deadlines are looked at now and then, and answers need their way. [s]"""


def unconverged(world: World) -> str:
    """What is not yet as it must be in the end; empty once all is."""
    controller = world.controller
    if controller is None or not controller.bus.connected:
        return "the controller is not connected"
    if not controller.rollouts.settled or controller.rollouts.patient:
        return "the controller has not settled"
    return next(_faults(world, controller), "")


def _faults(world: World, controller: SimulatedController) -> Iterator[str]:
    state = controller.rollouts.state
    if world.control.state and msgspec.json.decode(world.control.state, type=State) != state:
        yield "the store holds another state than the controller"
    for name, node in world.nodes.items():
        agent = node.running
        status = _kept(world, NODE_STATUS, NodeStatus, name)
        if agent is None or not agent.control.bus.connected:
            yield f"{name} is not connected"
        elif status is None or not status.online or status.instance != agent.instance:
            yield f"the registration of {name} is {status}"
    for model, expected in world.expected.items():
        if expected is not None and expected != (model in state.deployments):
            yield f"{model} is {'not ' if expected else ''}deployed though the command was answered"
    wanted: dict[tuple[str, str], Desired] = {}
    for model, deployment in state.deployments.items():
        yield from _unfinished(model, deployment)
        told = desired_states(
            model, deployment.rollout, deployment.spec, inputs=deployment.inputs, outputs=deployment.outputs
        )
        wanted |= {(node, model): desired for node, desired in told.items()}
    yield from _plans(world, wanted, state)
    kept = {DEPLOYMENT.names(topic)[0] for topic in world.broker.retained if "/deployments/" in topic}
    if kept != state.deployments.keys():
        yield f"sources are told of {sorted(kept)}, deployed are {sorted(state.deployments)}"
    for model, deployment in state.deployments.items():
        told_source = _kept(world, DEPLOYMENT, Deployment, model)
        source = world.nodes[deployment.source].running
        if told_source is None or source is None or told_source.advertise != source.address:
            yield f"the source of {model} is told as {told_source}"
        for name, node in world.nodes.items():
            if node.running is not None and node.running.machine.flow.deployments.get(model) != told_source:
                yield f"{name} has not heard who the source of {model} is"


def _unfinished(model: str, deployment: DeploymentState) -> Iterator[str]:
    rollout = deployment.rollout
    if rollout.active is None or rollout.upcoming is not None or rollout.retiring:
        yield f"{model} is still changing: {rollout}"
    if not all(fallback.ready for fallback in rollout.fallbacks):
        yield f"a fallback of {model} is not ready: {rollout}"


def _plans(world: World, wanted: dict[tuple[str, str], Desired], state: State) -> Iterator[str]:
    """Desired, Observed and the machines, against the controller's record."""
    for row in (DESIRED, OBSERVED):
        part = row.pattern.split("/")[2]
        kept = {row.names(topic) for topic in world.broker.retained if f"/{part}/" in topic}
        if kept != wanted.keys():
            yield f"{part} is kept of {sorted(kept)}, and should be of {sorted(wanted)}"
    for (name, model), desired in wanted.items():
        agent = world.nodes[name].running
        if _kept(world, DESIRED, Desired, name, model) != desired:
            yield f"the broker keeps another plan of {model} for {name} than the controller has"
        held = agent.machine.models.get(model) if agent is not None else None
        if agent is None or held is None or held.desired != desired:
            yield f"{name} does not want what it should of {model}"
            return
        states = {number: epoch.state for number, epoch in held.held.items()}
        if states != {spec.epoch: "prepared" for spec in desired.epochs}:
            yield f"{name} holds {states} of {model}"
        observed = _kept(world, OBSERVED, Observed, name, model)
        serving = state.deployments[model].rollout.active if desired.serve is not None else None
        number = serving.number if serving is not None else None
        if observed is None or observed.instance != agent.instance or observed.serving != number:
            yield f"{name} says {observed} of {model}, where {number} should serve"
        elif {epoch.epoch: epoch.state for epoch in observed.epochs} != states:
            yield f"{name} says {observed} of {model} and holds {states}"
    for name, node in world.nodes.items():
        agent = node.running
        further = agent.machine.models.keys() - {model for node_, model in wanted if node_ == name} if agent else ()
        if further:
            yield f"{name} still holds {sorted(further)}"


def _kept(world: World, row: Topic[Any], kind: type[Any], *names: str) -> Any:
    payload = world.broker.retained.get(row.of(*names))
    return None if payload is None else msgspec.json.decode(payload, type=kind)


def wrong_answers(world: World) -> list[str]:
    """Requests that were not answered as they must be; to be asked once every deadline has passed."""
    return [sentence for request in world.requests if (sentence := _wrong(request))]


def _wrong(request: AskedRequest) -> str:
    name = f"request {request.number} of {request.model} at {request.node}, asked at {request.at_s:.3f}"
    if len(request.answers) > 1:
        return f"{name}, was answered {len(request.answers)} times"
    if not request.answers:
        return f"{name}, was never answered" if request.program.alive else ""
    at_s, answer = request.answers[0]
    if at_s > request.at_s + request.deadline_s + LATE_S:
        return f"{name}, was answered at {at_s:.3f}"
    if isinstance(answer, EdgesplitError):
        return f"{name}, failed though its source could answer: {answer.code}: {answer}" if request.sure else ""
    found = float(answer[0]["scores"][0])
    wanted = answer_to(request.number)
    return "" if found == wanted else f"{name}, was answered {found} instead of {wanted}"


def hammering(world: World) -> list[str]:
    """What was tried more often within a minute than growing pauses allow."""
    tries: list[tuple[str, str, Sequence[float]]] = [
        (name, "fetching", node.tries) for name, node in world.nodes.items()
    ]
    tries.append(("the controller", "writing", world.control.refused_writes))
    if world.control.controller is not None:
        tries.append(("the controller", "planning", world.control.controller.solved))
    found: list[str] = []
    for who, what, times_s in tries:
        most = max((sum(1 for at_s in times_s if began_s <= at_s < began_s + 60) for began_s in times_s), default=0)
        if most > MOST_A_MINUTE[what]:
            found.append(f"{who} tried {what} {most} times within a minute")
    return found
