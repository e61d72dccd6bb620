"""An experiment's scenario as values: machines, links, models, grid of goals, baselines, script of changes.

Owns: the tables of a scenario file, key by key, with their defaults. Its rule: a value that was built is whole by itself; what two
tables must agree on is checked where the file is read (`scenario_file.py`). Not here: any of it at work.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

__all__ = [
    "METHODS",
    "STRATEGIES",
    "BaselinesSpec",
    "BatteryChange",
    "Change",
    "ContentionChange",
    "DelayChange",
    "DynamicsSpec",
    "GoalsChange",
    "GridSpec",
    "Heading",
    "LinkCut",
    "LinkRestored",
    "LinkSpec",
    "MachineSpec",
    "ModelSpec",
    "NodeDies",
    "NodeHangs",
    "NodeReturns",
    "QuotaChange",
    "RateChange",
    "Scenario",
    "SpeedChange",
    "Strategy",
    "Weights",
]

Positive = Annotated[float, msgspec.Meta(gt=0)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]+$", max_length=11)]
"""Becomes a part of names of namespaces and devices, which the kernel keeps short."""
Weights = tuple[Amount, Amount]
"""Of latency and of energy. [1]"""

METHODS = ("device", "edge", "cloud", "neurosurgeon", "dads", "heft", "study", "random-1")
"""Baselines that there are; any `random-N` is one, drawn with the seed N."""
Strategy = Literal[
    "edgesplit", "static:device", "static:edge", "static:cloud", "static:split", "oracle", "pause-resume"
]
STRATEGIES: tuple[str, ...] = get_args(Strategy)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file."""


class Heading(Table, frozen=True, kw_only=True):
    """`[scenario]`.

    Attributes:
        name: Folder of its results.
        title: Heading of its report.
        seed: Of everything that is drawn: the order of cells, requests, weights of zoo models.
        source: The machine where requests arise; the first one where it is empty.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]
    title: str = ""
    seed: int = 1
    source: str = ""


class MachineSpec(Table, frozen=True, kw_only=True):
    """`[[machine]]`: one node.

    Attributes:
        compute_w: Power of computing; energy is this times measured seconds. [W]
        transmit_w: Power of sending. [W]
        slow_down: Factor by which its agent stretches every computation: emulated speed. [1]
        cores: Processor seconds a second that it may use; none: not limited. [1]
        pinned_to: Core numbers; the last one there is stands for larger ones; empty: any.
    """

    name: Name
    compute_w: Amount = 10.0
    transmit_w: Amount = 1.0
    slow_down: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    cores: Annotated[float, msgspec.Meta(ge=0.1)] | None = None
    pinned_to: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()


class LinkSpec(Table, frozen=True, kw_only=True):
    """`[[link]]` between two machines.

    Attributes:
        ends: Their names; `there` is from the first to the second.
        there_bytes_per_s: Rate of that direction. [B/s]
        back_bytes_per_s: Of the other; the same where it is left out. [B/s]
        delay_there_s: One way. [s]
        delay_back_s: Of the other; the same where it is left out. [s]
    """

    ends: tuple[str, str]
    there_bytes_per_s: Positive
    back_bytes_per_s: Positive | None = None
    delay_there_s: Amount = 0.0
    delay_back_s: Amount | None = None


class ModelSpec(Table, frozen=True, kw_only=True):
    """`[[model]]`: exactly one of `zoo`, `demo` and `file`.

    Attributes:
        name: By which it is deployed; that of the topology or file where it is empty.
        zoo: Topology of `bench/zoo`, with random weights.
        scale: Of its channels. [1]
        size: Height and width of its image [pixel], or length of its sequence [token].
        demo: The demo's trained model, whose noise can be read as accuracy (mean intersection over union).
        file: An ONNX file, relative to the scenario's.
        calibration: Samples for int8 (.npz), relative to the scenario's file.
        max_quantizable: How many operators may run in int8.
        max_noise: Bounds for this model instead of the grid's: rho is in units of a model's outputs. [1]
        inputs: How many different requests there are, one after another.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    zoo: str = ""
    scale: Positive = 1.0
    size: Count | None = None
    demo: bool = False
    file: str = ""
    calibration: str = ""
    max_quantizable: Annotated[int, msgspec.Meta(ge=0)] = 12
    max_noise: tuple[Amount, ...] | None = None
    inputs: Count = 8

    @property
    def called(self) -> str:
        """Its name, given or not."""
        if self.name:
            return self.name
        if self.demo:
            return "shapes"
        return self.zoo or self.file.rpartition("/")[2].removesuffix(".onnx")


class GridSpec(Table, frozen=True, kw_only=True):
    """`[grid]`: every model under every configuration, weights and bound.

    Attributes:
        configurations: Machines that may compute; the source always may. None: all.
        weights: Of latency and energy.
        max_noise: Bounds on the output's noise, absolute. [1]
        requests: Measured, one after another.
        least_requests: Where a request is slow, at least so many.
        seconds: That the requests of a cell should take at most, where that leaves `least_requests`. [s]
        warm_up: Requests before those.
        rounds: How often the whole grid is visited, each time in another order; comparisons are paired within a round.
    """

    configurations: tuple[tuple[str, ...], ...] = ()
    weights: tuple[Weights, ...] = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
    max_noise: tuple[Amount, ...] = (0.0,)
    requests: Count = 11
    least_requests: Count = 5
    seconds: Positive = 8.0
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 2
    rounds: Count = 3


class BaselinesSpec(Table, frozen=True, kw_only=True):
    """`[baselines]`: methods whose plans are served and measured beside edgesplit's.

    Attributes:
        methods: See `METHODS`.
        weights: Those of the grid's under which they are compared; empty: all.
        max_noise: Those of the grid's bounds; none: all.
        more_rounds: At most so many rounds after the grid's, of those comparisons alone whose interval is on both sides of what
            counts as noise.
    """

    methods: tuple[str, ...] = ()
    weights: tuple[Weights, ...] = ()
    max_noise: tuple[Amount, ...] | None = None
    more_rounds: Annotated[int, msgspec.Meta(ge=0)] = 0


class RateChange(Table, frozen=True, kw_only=True, tag_field="what", tag="rate"):
    """A direction of a link gets another rate, or both with `both`. [B/s]"""

    at_s: Amount
    ends: tuple[str, str]
    bytes_per_s: Positive
    both: bool = False


class DelayChange(Table, frozen=True, kw_only=True, tag_field="what", tag="delay"):
    """A link gets another delay, both ways. [s]"""

    at_s: Amount
    ends: tuple[str, str]
    delay_s: Amount


class NodeDies(Table, frozen=True, kw_only=True, tag_field="what", tag="die"):
    """A node's agent ends without a word, as by a power cut."""

    at_s: Amount
    node: str


class NodeReturns(Table, frozen=True, kw_only=True, tag_field="what", tag="return"):
    """A node's agent starts again."""

    at_s: Amount
    node: str


class NodeHangs(Table, frozen=True, kw_only=True, tag_field="what", tag="hang"):
    """A node's agent stops where it stands, its sockets stay; `return` lets it go on."""

    at_s: Amount
    node: str


class LinkCut(Table, frozen=True, kw_only=True, tag_field="what", tag="cut"):
    """Nothing passes between two machines, either way."""

    at_s: Amount
    ends: tuple[str, str]


class LinkRestored(Table, frozen=True, kw_only=True, tag_field="what", tag="restore"):
    """A cut link carries again."""

    at_s: Amount
    ends: tuple[str, str]


class QuotaChange(Table, frozen=True, kw_only=True, tag_field="what", tag="quota"):
    """A node may use so much of a core. [core]"""

    at_s: Amount
    node: str
    cores: Annotated[float, msgspec.Meta(ge=0.1)]


class SpeedChange(Table, frozen=True, kw_only=True, tag_field="what", tag="slow-down"):
    """A node's agent stretches compute by another factor: emulated speed. [1]"""

    at_s: Amount
    node: str
    slow_down: Annotated[float, msgspec.Meta(ge=1)]


class ContentionChange(Table, frozen=True, kw_only=True, tag_field="what", tag="contend"):
    """So many processes compute beside a node's agent, in its share of the processor; 0 ends it."""

    at_s: Amount
    node: str
    processes: Annotated[int, msgspec.Meta(ge=0)] = 1


class BatteryChange(Table, frozen=True, kw_only=True, tag_field="what", tag="battery"):
    """A node's battery is so full, from `holds_wh` on mains or not; the floor asks for the rest. [1, Wh]"""

    at_s: Amount
    node: str
    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)]
    holds_wh: Positive = 50.0
    floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2


class GoalsChange(Table, frozen=True, kw_only=True, tag_field="what", tag="goals"):
    """Somebody asks for something else."""

    at_s: Amount
    weights: Weights
    max_noise: Amount | None = None


Change = (
    RateChange
    | DelayChange
    | LinkCut
    | LinkRestored
    | NodeDies
    | NodeHangs
    | NodeReturns
    | QuotaChange
    | ContentionChange
    | SpeedChange
    | BatteryChange
    | GoalsChange
)


class DynamicsSpec(Table, frozen=True, kw_only=True):
    """`[dynamics]`: who is put through the script of changes, and for how long.

    Attributes:
        strategies: See `STRATEGIES`; each is put through the same script.
        model: Which; the first one where it is empty.
        duration_s: From the first request on. [s]
        requests_per_s: Sent at this rate; none: one after another. [1/s]
        weights: Of latency and energy at the beginning.
        max_noise: Bound at the beginning; none: no bound. [1]
    """

    strategies: tuple[Strategy, ...] = ("edgesplit",)
    model: str = ""
    duration_s: Positive = 60.0
    requests_per_s: Positive | None = None
    weights: Weights = (1.0, 0.0)
    max_noise: Amount | None = None


class Scenario(Table, frozen=True, kw_only=True):
    """A scenario file."""

    scenario: Heading
    machine: Annotated[tuple[MachineSpec, ...], msgspec.Meta(min_length=1)]
    link: tuple[LinkSpec, ...] = ()
    model: Annotated[tuple[ModelSpec, ...], msgspec.Meta(min_length=1)]
    grid: GridSpec | None = None
    baselines: BaselinesSpec | None = None
    change: tuple[Change, ...] = ()
    dynamics: DynamicsSpec | None = None

    @property
    def source(self) -> str:
        """The machine where requests arise."""
        return self.scenario.source or self.machine[0].name

    @property
    def machines(self) -> tuple[str, ...]:
        """Names, in the file's order."""
        return tuple(entry.name for entry in self.machine)

    def bounds(self, model: ModelSpec) -> tuple[float, ...]:
        """Of the noise of a model's cells. [1]"""
        if model.max_noise is not None:
            return model.max_noise
        return self.grid.max_noise if self.grid is not None else ()
