"""Faults of a history: what goes wrong, when, and for how long; and how all of it is healed.

Owns: one function for each fault, and the draws. Its rule: each fault names what it does and undoes itself after a while, unless the
world is healed before. Not here: what must hold in spite of them (`convergence.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.histories.simulation.simulated_agent import SimulatedNode
from tests.histories.simulation.simulated_broker import Memory
from tests.histories.simulation.simulated_controller import CONTROLLER
from tests.histories.world import World

__all__ = ["FAULTS", "draw_fault", "heal", "power_up"]

Fault = Callable[[World, Random], None]


def _node(world: World, chance: Random) -> SimulatedNode:
    return world.nodes[chance.choice(sorted(world.nodes))]


def _pair(world: World, chance: Random) -> tuple[str, str]:
    one, other = chance.sample(sorted(world.nodes), 2)
    return one, other


def agent_crashes(world: World, chance: Random) -> None:
    """An agent is killed, or its machine loses power; now and then with its disk."""
    node = _node(world, chance)
    node.crash(power=chance.random() < 0.5)
    if chance.random() < 0.2:
        node.blobs.clear()
    world.at(chance.choice((0.01, 0.5, 3.0, 12.0, 40.0)) * chance.uniform(0.5, 1.5), node.start)


def agent_restarts(world: World, chance: Random) -> None:
    """An agent is stopped in order and started again."""
    node = _node(world, chance)
    node.stop()
    world.at(chance.uniform(5.5, 15.0), node.start)


def controller_crashes(world: World, chance: Random) -> None:
    """The controller is killed, or its machine loses power."""
    world.control.crash(power=chance.random() < 0.5)
    world.at(chance.choice((0.1, 2.0, 15.0, 40.0)) * chance.uniform(0.5, 1.5), world.control.start)


def controller_restarts(world: World, chance: Random) -> None:
    """The controller is stopped in order and started again."""
    world.control.stop()
    world.at(chance.uniform(3.0, 10.0), world.control.start)


def controller_crashes_in_writing(world: World, chance: Random) -> None:
    """The controller's power is cut in the middle of its next write, before or after that holds."""
    world.control.crash_in_writing = chance.choice(("before", "after"))
    world.at(chance.uniform(10.0, 40.0), _write_on, world)


def _write_on(world: World) -> None:
    world.control.crash_in_writing = ""
    world.control.start()


def controller_disk_fills(world: World, chance: Random) -> None:
    """The controller's store takes no writes."""
    world.control.disk_full = True
    world.at(chance.uniform(2.0, 40.0), _controller_disk_empties, world)


def _controller_disk_empties(world: World) -> None:
    world.control.disk_full = False


def agent_disk_fills(world: World, chance: Random) -> None:
    """A node's disk takes no writes."""
    node = _node(world, chance)
    node.disk_full = True
    world.at(chance.uniform(2.0, 40.0), _agent_disk_empties, node)


def _agent_disk_empties(node: SimulatedNode) -> None:
    node.disk_full = False


def artifacts_go(world: World, chance: Random) -> None:
    """The controller's HTTP server answers nobody."""
    world.control.artifacts_away = True
    world.at(chance.uniform(2.0, 40.0), _artifacts_return, world)


def _artifacts_return(world: World) -> None:
    world.control.artifacts_away = False


def broker_crashes(world: World, chance: Random) -> None:
    """The broker is killed, and remembers all, nothing, or what it last saved."""
    world.broker.stop()
    memories: tuple[Memory, ...] = ("kept", "lost", "old")
    memory = chance.choice(memories)
    world.at(chance.choice((0.1, 3.0, 20.0)) * chance.uniform(0.5, 1.5), _broker_returns, world, memory)


def _broker_returns(world: World, memory: Memory) -> None:
    if not world.broker.running:
        world.broker.start(memory)


def broker_saves(world: World, _chance: Random) -> None:
    """The broker writes down what it keeps."""
    world.broker.save()


def broker_is_cut_off(world: World, chance: Random) -> None:
    """Packets between one machine and the broker vanish."""
    machine = chance.choice([CONTROLLER, *sorted(world.nodes)])
    world.broker.cut(machine)
    world.at(chance.choice((0.2, 5.0, 25.0)) * chance.uniform(0.5, 1.5), world.broker.mend, machine)


def connection_drops(world: World, chance: Random) -> None:
    """A connection to the broker ends."""
    world.broker.drop(chance.choice([CONTROLLER, *sorted(world.nodes)]))


def peers_are_cut_off(world: World, chance: Random) -> None:
    """Packets between two nodes vanish."""
    pair = _pair(world, chance)
    world.network.block(*pair)
    world.at(chance.choice((0.2, 4.0, 25.0)) * chance.uniform(0.5, 1.5), world.network.mend, *pair)


def queues_fill(world: World, chance: Random) -> None:
    """Two nodes have more to send each other than they may keep."""
    pair = _pair(world, chance)
    world.network.fill(*pair)
    world.at(chance.uniform(0.2, 10.0), world.network.drain, *pair)


def peers_reset(world: World, chance: Random) -> None:
    """Connections between two nodes end."""
    world.network.reset(*_pair(world, chance))


def clock_steps(world: World, chance: Random) -> None:
    """A wall clock is set."""
    step_s = chance.choice((-1e6, -3600.0, -5.0, 5.0, 3600.0, 1e6))
    if chance.random() < 0.4:
        world.control.clock_s += step_s
    else:
        _node(world, chance).clock_s += step_s


def rival_appears(world: World, chance: Random) -> None:
    """A second agent of a node's name is started on another machine."""
    node = _node(world, chance)
    rival = world.new_rival(node.name)
    rival.start()
    world.at(chance.uniform(2.0, 30.0), rival.crash_gone)


def rival_appears_as_the_broker_forgets(world: World, chance: Random) -> None:
    """The same, while the broker is started again and knows no registration: both may come to hold the name."""
    rival_appears(world, chance)
    world.at(chance.uniform(0.0, 1.0), world.broker.stop)
    world.at(chance.uniform(1.0, 2.0), _broker_returns, world, "lost")


def source_dies_in_activation(world: World, chance: Random) -> None:
    """A model is moved, and its new source dies, or is cut off, as it is to begin serving."""
    model, node = chance.choice(sorted(world.models)), _node(world, chance)
    world.deploy(model, node.name)
    before = world.epochs_of(node.name, model)
    power = chance.random() < 0.5

    def look(left: int) -> None:
        known = world.epochs_of(node.name, model)
        if known is not None and known is not before and any(held.state == "prepared" for held in known.held.values()):
            node.crash(power=power)
            world.at(chance.uniform(2.0, 40.0), node.start)
        elif left:
            world.at(0.05, look, left - 1)

    look(100)


def plan_is_replaced_under_load(world: World, chance: Random) -> None:
    """A model moves while requests are under way, and what still has some on the old plan is disturbed: its connections break, its
    peers fall silent or take no more, or the broker goes back to what it kept before."""
    model = chance.choice(sorted(world.models))
    for _ in range(16):
        world.at(chance.uniform(0.0, 4.0), world.ask, model, chance.choice(sorted(world.nodes)))
    world.broker.save()
    world.deploy(model, chance.choice(sorted(world.nodes)))
    disturbances = ("breaks", "full", "silence", "old", "silence and old")
    disturbance = chance.choice(disturbances)

    def look(left: int) -> None:
        for name in sorted(world.nodes):
            known = world.epochs_of(name, model)
            if known is not None and any(held.state == "draining" for held in known.held.values()):
                _disturb(world, name, disturbance)
                return
        if left and not world.healed:
            world.at(0.01, look, left - 1)

    look(500)


def _disturb(world: World, name: str, disturbance: str) -> None:
    others = sorted(world.nodes.keys() - {name})
    if disturbance == "breaks":
        for other in others:
            world.network.reset(name, other)
    if disturbance == "full":
        for other in others:
            world.network.fill(name, other)
            world.at(3.0, world.network.drain, name, other)
    if "silence" in disturbance:
        for other in others:
            world.network.block(name, other)
            world.at(6.0, world.network.mend, name, other)
    if "old" in disturbance:
        world.broker.stop()
        world.at(0.05, _broker_returns, world, "old")


def disks_lose_blobs(world: World, chance: Random) -> None:
    """Two machines lose power and some of what was on their disks, while nobody gives it to them again."""
    artifacts_go(world, chance)
    for name in chance.sample(sorted(world.nodes), 2):
        node = world.nodes[name]
        node.crash(power=True)
        node.blobs -= {blob for blob in sorted(node.blobs) if chance.random() < 0.5}
        world.at(chance.uniform(0.01, 1.0), node.start)
    for _ in range(8):
        world.at(chance.uniform(0.5, 10.0), world.ask, chance.choice(sorted(world.models)))


def command_deploys(world: World, chance: Random) -> None:
    """Somebody deploys a model, perhaps at another source."""
    world.deploy(chance.choice(sorted(world.models)), chance.choice(sorted(world.nodes)))


def command_undeploys(world: World, chance: Random) -> None:
    """Somebody ends serving a model, and perhaps begins again."""
    model = chance.choice(sorted(world.models))
    world.undeploy(model)
    if chance.random() < 0.7:
        world.at(chance.uniform(0.1, 20.0), world.deploy, model, chance.choice(sorted(world.nodes)))


def command_removes_node(world: World, chance: Random) -> None:
    """Somebody removes a node that is away."""
    world.remove_node(_node(world, chance).name)


FAULTS: tuple[tuple[Fault, float], ...] = (
    (agent_crashes, 4.0),
    (agent_restarts, 1.0),
    (controller_crashes, 3.0),
    (controller_restarts, 1.0),
    (controller_crashes_in_writing, 1.5),
    (controller_disk_fills, 1.0),
    (agent_disk_fills, 1.0),
    (artifacts_go, 1.0),
    (broker_crashes, 2.0),
    (broker_saves, 1.0),
    (broker_is_cut_off, 2.5),
    (connection_drops, 2.0),
    (peers_are_cut_off, 3.0),
    (queues_fill, 0.7),
    (peers_reset, 1.5),
    (clock_steps, 1.0),
    (rival_appears, 1.0),
    (rival_appears_as_the_broker_forgets, 0.5),
    (source_dies_in_activation, 0.7),
    (plan_is_replaced_under_load, 1.0),
    (disks_lose_blobs, 0.5),
    (command_deploys, 2.0),
    (command_undeploys, 1.0),
    (command_removes_node, 0.5),
)
"""Each fault, and how often it comes beside the others."""


def draw_fault(world: World) -> None:
    """Something goes wrong; nothing once the world is healed, for a second fault soon after the last one may be due only then."""
    if world.healed:
        return
    chance = world.chance
    (fault,) = chance.choices([fault for fault, _ in FAULTS], [weight for _, weight in FAULTS])
    world.note(f"FAULT {fault.__name__}")
    fault(world, chance)


def power_up(world: World) -> None:
    """Everything is switched on, in any order, and some of it fails on its way up."""
    chance = world.chance
    starts: list[Callable[[], object]] = [
        lambda: _broker_returns(world, "kept"),
        world.control.start,
        *(node.start for node in world.nodes.values()),
    ]
    chance.shuffle(starts)
    at_s = 0.0
    for start in starts:
        at_s += chance.choice((0.0, 0.1, 2.0, 10.0)) * chance.random()
        world.at(at_s, start)


def heal(world: World) -> None:
    """Everything is there and works from now on."""
    world.note("HEALED")
    world.healed = True
    world.control.disk_full = world.control.artifacts_away = False
    world.control.crash_in_writing = ""
    _broker_returns(world, "kept")
    for machine in (CONTROLLER, *world.nodes):
        world.broker.mend(machine)
    world.network.mend_all()
    for rival in world.rivals:
        rival.crash_gone()
    for node in world.nodes.values():
        node.disk_full = False
        node.start()
    world.control.start()
