"""Results of a run of the lab (`results.json`): what was measured, beside what was predicted; no statistics.

Owns: the document's keys, their units, reading and writing. Its rule: a key that was written once is never renamed; what was not
measured is absent or None, never NaN and never a number that stands for nothing. Not here: what follows from the figures
(`lab/reporting`), how they are measured (`lab/running`, `lab/dynamics`).

Seconds, joules, bytes and plain ratios throughout. Predicted is what a plan said before its first request; measured is what
requests took; an energy is configured watts times measured seconds, a modelled power and a measured time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from lab.play_results import DynamicRun

__all__ = [
    "ANSWERING_METHOD",
    "FORMAT",
    "BesideLoop",
    "Cell",
    "ExecutedComponent",
    "FailedStep",
    "ModelFacts",
    "NoiseFitFacts",
    "PlanFacts",
    "PlannedStep",
    "Results",
    "Setting",
    "read_results",
    "write_results",
]

FORMAT = 1
ANSWERING_METHOD = "edgesplit"
"""The method of edgesplit's own plans; every other method is a baseline."""


class Setting(msgspec.Struct, kw_only=True):
    """Where and with what a run was made.

    Attributes:
        kernel: Release and version of the kernel.
        cpu: The processor's name.
        cores: That the run could use.
        memory_bytes: Of the machine. [B]
        python: Version.
        packages: Version by name of what computes and carries.
        edgesplit_version: Of the installed package.
        commit: Of the checkout; empty where it is none.
    """

    kernel: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    packages: dict[str, str]
    edgesplit_version: str
    commit: str


class NoiseFitFacts(msgspec.Struct, kw_only=True):
    """A noise regressor of one degree: predicted against measured noise of quantization patterns.

    Attributes:
        degree: Of the polynomial.
        r2_train: On the patterns it was fitted on; None where it was not computed. [1]
        r2_test: On the held-out ones. [1]
        measured: Noise of each pattern, as the model's outputs have it.
        predicted: Of the same patterns, in the same order.
        held_out: Whether a pattern was kept from the fit.
    """

    degree: int
    r2_train: float | None = None
    r2_test: float | None = None
    measured: list[float]
    predicted: list[float]
    held_out: list[bool]


class ModelFacts(msgspec.Struct, kw_only=True):
    """One model of a run.

    Attributes:
        file_sha256: Of the ONNX file.
        nbytes: Its size. [B]
        operators: Of the graph.
        units: That the planner places.
        add_s: Until `splitctl model add` was answered. [s]
        profile_s: Until all nodes had profiled it. [s]
        noise_s: Of noise profiling: calibration, measuring patterns, fitting. [s]
        quantizable: Units that may be quantized.
        full_noise: Noise with all of them quantized.
        fits: Noise regressors, by degree.
    """

    file_sha256: str
    nbytes: int
    operators: int
    units: int
    add_s: float | None = None
    profile_s: float | None = None
    noise_s: float | None = None
    quantizable: list[str] = []
    full_noise: float | None = None
    fits: list[NoiseFitFacts] = []


class PlannedStep(msgspec.Struct, kw_only=True):
    """One step of a plan's simulated timeline.

    Attributes:
        kind: `compute`, `transfer`, or another that the planner's timeline has.
        what: The component, or the tensor.
        node: Where it is computed; None of a transfer.
        link: `FROM->TO` of a transfer; None of computing.
        start_s: From the request's begin. [s]
        end_s: From the request's begin. [s]
    """

    kind: str
    what: str
    node: str | None = None
    link: str | None = None
    start_s: float
    end_s: float


class PlanFacts(msgspec.Struct, kw_only=True):
    """A plan as it was deployed, with what it predicted before its first request.

    Attributes:
        status: `optimal`, `feasible`, ... as the planner says; `given` where the plan was given to the controller.
        predicted_s: Latency. [s]
        interval_s: Its stated 90 % interval; None where none was stated. [s]
        predicted_j: Energy, modelled. [J]
        predicted_noise: By the noise model.
        operators: Number by node.
        components: Number by node.
        quantized: Units in int8.
        codecs: Wire codec by tensor, of those that travel coded.
        timeline: Predicted, of one request.
        solve_s: Until the planner had it; None where nothing was solved. [s]
        deploy_s: From the command until it served. [s]
        signature: Digest of assignment, int8 and codecs: plans of one signature are one plan.
    """

    status: str
    predicted_s: float
    interval_s: tuple[float, float] | None = None
    predicted_j: float
    predicted_noise: float
    operators: dict[str, int]
    components: dict[str, int]
    quantized: list[str] = []
    codecs: dict[str, str] = {}
    timeline: list[PlannedStep] = []
    solve_s: float | None = None
    deploy_s: float | None = None
    signature: str = ""


class BesideLoop(msgspec.Struct, kw_only=True):
    """The control: a plain loop of the same model on a node's core, right before and after the requests.

    Attributes:
        core: That it ran on; nodes that share one have the same loop.
        before_s: Its median before. [s]
        after_s: Its median after. [s]
    """

    core: str
    before_s: float
    after_s: float


class ExecutedComponent(msgspec.Struct, kw_only=True):
    """A component as it ran, of one request.

    Attributes:
        component: As `what` of the timeline names it.
        node: Where.
        start_s: From the request's begin. [s]
        end_s: From the request's begin. [s]
    """

    component: str
    node: str
    start_s: float
    end_s: float


class Cell(msgspec.Struct, kw_only=True):
    """One plan of one method under one set of goals, and what its requests took.

    Cells of the same goals and nodes are one comparison; they are visited in interleaved rounds and paired by `round`.

    Attributes:
        id: Unique within the run.
        method: `edgesplit`, or a baseline: `device`, `edge`, `cloud`, `neurosurgeon`, `dads`, `heft`, `study`, `random-N`.
        model: Its name.
        nodes: Those that the method might use.
        latency_weight: [1]
        energy_weight: [1]
        max_noise: Absolute bound, in the unit of the model's outputs.
        at_unix_s: When it was measured. [s]
        visit: Running number of the run's visits.
        round: Of the comparison.
        plan: What was deployed.
        latencies_s: Of every request that counts, in order. [s]
        energy_j: Per request: configured watts times measured seconds. [J]
        energy_origin: Where the watts are from.
        noise_measured: By the agents' shadow runs or the lab's own comparison with the float model.
        accuracy: Of the model's task, where it has one. [1]
        compute_s: Mean per request, by node. [s]
        controls: By node.
        executed: One request's components as they ran.
        shared_with: The cell of the same round with the same plan whose requests these are; empty: its own.
    """

    id: str
    method: str = ANSWERING_METHOD
    model: str
    nodes: list[str]
    latency_weight: float
    energy_weight: float
    max_noise: float
    at_unix_s: float
    visit: int
    round: int
    plan: PlanFacts
    latencies_s: list[float]
    energy_j: float | None = None
    energy_origin: str = ""
    noise_measured: float | None = None
    accuracy: float | None = None
    compute_s: dict[str, float] = {}
    controls: dict[str, BesideLoop] = {}
    executed: list[ExecutedComponent] | None = None
    shared_with: str = ""


class FailedStep(msgspec.Struct, kw_only=True):
    """A step of the run that gave no figures.

    Attributes:
        id: Of the step; a cell's where it was to give one.
        reason: In words.
    """

    id: str
    reason: str


class Results(msgspec.Struct, kw_only=True):
    """Everything a run of the lab found.

    Attributes:
        format: Of this document.
        scenario: As it was read.
        scenario_name: Its name.
        digest: SHA-256 of the scenario.
        command: That made the run.
        began_unix_s: [s]
        ended_unix_s: None while it goes on, or was stopped. [s]
        complete: Whether every step was done, or failed and says so.
        setting: Machine and versions.
        models: By name.
        cells: edgesplit's own plans.
        baselines: The other methods' plans, measured likewise.
        dynamics: Strategies under the script of changes.
        failures: Steps without figures.
    """

    format: int = FORMAT
    scenario: dict[str, Any]
    scenario_name: str
    digest: str
    command: str
    began_unix_s: float
    ended_unix_s: float | None = None
    complete: bool = False
    setting: Setting
    models: dict[str, ModelFacts] = {}
    cells: list[Cell] = []
    baselines: list[Cell] = []
    dynamics: list[DynamicRun] = []
    failures: list[FailedStep] = []


def read_results(path: Path) -> Results:
    """Of a file.

    Raises:
        msgspec.ValidationError: It is no results document, and says where.
    """
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write_results(path: Path, results: Results) -> None:
    """Replace the file whole, so that whoever reads it meanwhile reads the one before."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    beside.replace(path)
