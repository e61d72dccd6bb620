"""A run of a scenario from its first step to its results: begun, resumed, ended early, always written down.

Owns: the order of everything and what is kept of it. Its rule: a finished step is in the journal before the next begins; however the
run ends, machines are taken away, and `results.json` says what there is. Not here: steps (`steps.py`), cells (`visiting`),
dynamics (`lab/dynamics`), the report (`lab/reporting`).
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from demo.fleet import CommandFailed
from edgesplit.errors import EdgesplitError
from lab.baselines.methods import plan_for
from lab.baselines.prices import MethodHasNoPlan
from lab.dynamics.comparison import OracleFailed
from lab.dynamics.strategies import in_order
from lab.results import ANSWERING_METHOD, Cell, FailedStep, ModelFacts, NoiseFitFacts, Results, write_results
from lab.running.deployment import Added
from lab.running.fleet_of_run import FleetOfRun, running_fleet
from lab.running.journal import Begin, CellDone, Entry, Journal, ModelDone, RunDone, StepFailed
from lab.running.noise_facts import noise_fits
from lab.running.plays import Plays, runs_of
from lab.running.prepared_models import PreparedModel, prepare
from lab.running.progress import RunProgress, hours
from lab.running.setting import read_setting
from lab.running.steps import Kind, RunStep, left_s, steps_of, visiting_steps
from lab.running.visiting.asking import AskingFailed
from lab.running.visiting.measuring import Measuring, PlanMoved
from lab.running.visiting.undecided import undecided_visits
from lab.scenarios.scenario_file import LoadedScenario
from lab.testbed.plain_loop import LoopFailed

__all__ = ["JOURNAL", "RESULTS", "Lab"]

JOURNAL, RESULTS = "journal.jsonl", "results.json"
WRITTEN_EVERY_S = 60.0
FAILURES = (
    *(AskingFailed, CommandFailed, EdgesplitError, LoopFailed, MethodHasNoPlan, OracleFailed, PlanMoved),
    *(subprocess.SubprocessError, OSError, TimeoutError, ValueError),
)


@dataclass
class Lab:
    """A run of a scenario in a folder.

    Attributes:
        loaded: The scenario.
        folder: Of journal and results.
        command: By which it was asked for, for the results.
        progress: Told how far it is.
        fresh: Throw away what the folder has of an earlier run.

    Raises:
        JournalForeign: The folder holds another scenario's journal.
    """

    loaded: LoadedScenario
    folder: Path
    command: str
    progress: RunProgress
    fresh: bool = False
    journal: Journal = field(init=False)
    steps: list[RunStep] = field(init=False)
    _taken_s: dict[Kind, list[float]] = field(init=False)
    _models: dict[str, PreparedModel] = field(init=False)
    _written_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.fresh:
            (self.folder / JOURNAL).unlink(missing_ok=True)
        self.journal = Journal(self.folder / JOURNAL, self.loaded.digest)
        if self.journal.begin is None:
            # Plans that were made once for all rounds are of another run.
            for name in ("plans", "dynamics"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        self.steps = steps_of(self.loaded.scenario)
        self._taken_s = {}
        self._models = {}
        while self._visited and self._another_round():
            pass
        kinds: dict[str, Kind] = {step.id: step.kind for step in self.steps}
        for entry in self.journal.entries:
            if entry.id in kinds and not isinstance(entry, StepFailed):
                self._taken_s.setdefault(kinds[entry.id], []).append(entry.seconds)

    # --- the whole -------------------------------------------------------------------------------------------------

    def run(self) -> Results:
        """Take the steps that are left; results are written whatever happens."""
        if self.journal.begin is None:
            setting = read_setting()
            self.journal.start(
                Begin(digest=self.loaded.digest, command=self.command, unix_s=time.time(), setting=setting)
            )
        self._tell_begin()
        ended = False
        try:
            self._run()
            ended = True
        finally:
            self.write(ended=ended)
        return self.results(ended=ended)

    def _run(self) -> None:
        left = [step for step in self.steps if step.id not in self.done]
        plays = [step for step in left if step.kind == "dynamics"]
        if not left:
            return
        folder, stays = self.folder / "fleet", len(plays) < len(left)
        with running_fleet(self.loaded.scenario, folder, self.progress.doing, stays=stays) as fleet:
            if stays:
                self._grid(fleet)
            if plays:
                self._dynamics(fleet, plays)

    @property
    def done(self) -> frozenset[str]:
        """Steps that are finished."""
        return self.journal.done

    def results(self, *, ended: bool) -> Results:
        """What there is."""
        begin = self.journal.begin
        assert begin is not None
        entries = self.journal.entries
        cells = [entry.cell for entry in entries if isinstance(entry, CellDone)]
        return Results(
            scenario=self.loaded.document,
            scenario_name=self.loaded.scenario.scenario.name,
            digest=self.loaded.digest,
            command=begin.command,
            began_unix_s=begin.unix_s,
            ended_unix_s=time.time() if ended else None,
            complete=ended,
            setting=begin.setting,
            models={entry.name: entry.facts for entry in entries if isinstance(entry, ModelDone)},
            cells=[cell for cell in cells if cell.method == ANSWERING_METHOD],
            baselines=[cell for cell in cells if cell.method != ANSWERING_METHOD],
            dynamics=runs_of(self.loaded.scenario, [entry.run for entry in entries if isinstance(entry, RunDone)]),
            failures=self.journal.failures,
        )

    def write(self, *, ended: bool) -> None:
        """Write the results so far."""
        write_results(self.folder / RESULTS, self.results(ended=ended))
        self._written_s = time.monotonic()

    def _tell_begin(self) -> None:
        name, left = self.loaded.scenario.scenario.name, hours(self._left_s())
        if self.done:
            torn = ", whose last line was torn and is left out" if self.journal.torn else ""
            self.progress.say(
                f"{name}: resumed behind {len(self.done)} of {len(self.steps)} steps of {self.folder / JOURNAL}{torn}; "
                f"about {left} left (--fresh begins anew)"
            )
        else:
            self.progress.say(f"{name}: {len(self.steps)} steps, about {left}; Ctrl-C keeps what was measured")

    def _left_s(self) -> float:
        return left_s(self.steps, self.done, self._taken_s)

    # --- one step --------------------------------------------------------------------------------------------------

    def _take(self, step: RunStep, make: Callable[[], Entry], began: float | None = None) -> None:
        """Take a step and write down what came of it.

        Args:
            step: Which.
            make: Does it.
            began: When, where a part of it is done already; None: now. [s, monotonic]
        """
        began = time.monotonic() if began is None else began
        self.progress.doing(step.id)
        try:
            entry: Entry = msgspec.structs.replace(make(), seconds=time.monotonic() - began)
        except FAILURES as error:
            reason = str(error) or type(error).__name__
            entry = StepFailed(
                id=step.id, failure=FailedStep(id=step.id, reason=reason), seconds=time.monotonic() - began
            )
            self.progress.say(f"{step.id}: failed: {reason}")
        self.journal.add(entry)
        if not isinstance(entry, StepFailed):
            self._taken_s.setdefault(step.kind, []).append(entry.seconds)
            self.progress.say(f"{_place(self.steps, step)} {_said(entry)}; about {hours(self._left_s())} left")
        self.progress.done(len(self.done), len(self.steps), self._left_s())
        if time.monotonic() - self._written_s > WRITTEN_EVERY_S:
            self.write(ended=False)

    # --- grid ------------------------------------------------------------------------------------------------------

    def _grid(self, fleet: FleetOfRun) -> None:
        """Models, then rounds of cells."""
        scenario = self.loaded.scenario
        assert scenario.grid is not None
        plans = self.folder / "plans"
        plans.mkdir(exist_ok=True)
        with ExitStack() as stack:
            measuring: dict[str, Measuring] = {}
            for step in self.steps:
                if step.kind == "model":
                    self._add_model(step, fleet)
                    made = Measuring(
                        testbed=fleet.testbed,
                        deployed=fleet.deployed(step.subject),
                        model=self._model(step.subject),
                        grid=scenario.grid,
                        source=scenario.source,
                        folder=plans,
                        method=plan_for,
                    )
                    measuring[step.subject] = stack.enter_context(made)
            for name in measuring:
                # While models were added the controller computed on the very cores that were timed.
                self.progress.doing(f"{name} is profiled again, now that nothing else computes")
                fleet.deployed(name).profile_again()
            fleet.await_links(self.progress.say)
            for entry in self.journal.entries:
                if isinstance(entry, CellDone):
                    measuring[entry.cell.model].remember(entry.cell)
            done = self.done
            for number, step in enumerate(self._visits(), start=1):
                if step.id not in done:
                    fleet.check()
                    self._take(step, partial(_cell_entry, step, number, measuring))

    def _visits(self) -> Iterator[RunStep]:
        """Steps of the grid's rounds, then of rounds of what is undecided, as long as something is."""
        yield from [step for step in self.steps if step.visit is not None]
        while more := self._another_round():
            yield from more

    @property
    def _visited(self) -> bool:
        """Whether all visits that are known of are done, and there are any."""
        visits = {step.id for step in self.steps if step.visit is not None}
        return bool(visits) and visits <= self.done

    def _another_round(self) -> list[RunStep]:
        """State one more round of what is undecided; none where all is decided, or there were as many as are asked for."""
        scenario = self.loaded.scenario
        if scenario.grid is None or scenario.baselines is None:
            return []
        rounds = max(step.visit.round for step in self.steps if step.visit is not None)
        if rounds >= scenario.grid.rounds + scenario.baselines.more_rounds:
            return []
        visits = undecided_visits(scenario, self.results(ended=False), rounds + 1)
        steps = visiting_steps(scenario.grid, visits)
        self.steps += steps
        return steps

    def _model(self, name: str) -> PreparedModel:
        """A model's files, made once a run."""
        if name not in self._models:
            spec = next(entry for entry in self.loaded.scenario.model if entry.called == name)
            seed = self.loaded.scenario.scenario.seed
            self._models[name] = prepare(spec, self.folder / "models", self.loaded.folder, seed)
        return self._models[name]

    def _add_model(self, step: RunStep, fleet: FleetOfRun) -> None:
        """Add and deploy a model; its facts go into the journal the first time."""
        self.progress.doing(f"{step.subject} is made ready")
        model = self._model(step.subject)
        if step.id in self.done:
            fleet.add(model)
            return
        began = time.monotonic()
        fits = noise_fits(model)
        facts = _model_facts(model, fleet.add(model), fits)
        self._take(step, lambda: ModelDone(id=step.id, name=model.name, facts=facts), began)

    # --- dynamics --------------------------------------------------------------------------------------------------

    def _dynamics(self, fleet: FleetOfRun, steps: Sequence[RunStep]) -> None:
        """Strategies after each other, each from the same state."""
        scenario = self.loaded.scenario
        dynamics = scenario.dynamics
        assert dynamics is not None
        name = dynamics.model or scenario.model[0].called
        if name not in fleet:
            fleet.add(self._model(name))
        fleet.free(name)
        plays = Plays(scenario, fleet.testbed, self._model(name), self.folder / "dynamics", self.progress.say)
        for entry in self.journal.entries:
            if isinstance(entry, RunDone):
                plays.remember(entry.run)
        order = in_order(dynamics.strategies)
        for step in sorted(steps, key=lambda step: order.index(step.subject)):
            fleet.check()
            self._take(step, partial(_play_entry, step, plays))


def _model_facts(model: PreparedModel, added: Added, fits: list[NoiseFitFacts]) -> ModelFacts:
    noise = added.document["noise_model"] or {}
    return ModelFacts(
        file_sha256=model.sha256,
        nbytes=model.path.stat().st_size,
        operators=added.document["operators"],
        units=added.document["units"],
        add_s=added.add_s,
        profile_s=added.profile_s,
        noise_s=noise.get("seconds"),
        quantizable=list(added.document["quantizable"]),
        full_noise=noise.get("full_noise"),
        fits=fits,
    )


def _cell_entry(step: RunStep, number: int, measuring: Mapping[str, Measuring]) -> Entry:
    assert step.visit is not None
    cell = measuring[step.visit.comparison.model].visit(step.visit, number)
    return CellDone(id=step.id, cell=cell)


def _play_entry(step: RunStep, plays: Plays) -> Entry:
    return RunDone(id=step.id, run=plays.play(step.subject))


def _place(steps: Sequence[RunStep], step: RunStep) -> str:
    return f"{steps.index(step) + 1}/{len(steps)} {step.id}:"


def _said(entry: Entry) -> str:
    """What came of a step, in a line."""
    match entry:
        case ModelDone():
            return f"{entry.facts.operators} operators, known after {hours(entry.facts.profile_s or 0)}"
        case CellDone():
            return _cell_said(entry.cell)
        case RunDone():
            failed = sum(request.failed for request in entry.run.requests)
            return f"{len(entry.run.requests)} requests, {failed} failed"
        case StepFailed():
            return entry.failure.reason


def _cell_said(cell: Cell) -> str:
    if cell.shared_with:
        return f"the plan of {cell.shared_with.removeprefix('cell:')}"
    middle_s = sorted(cell.latencies_s)[len(cell.latencies_s) // 2]
    shares = ", ".join(f"{node} {count}" for node, count in cell.plan.operators.items())
    return f"{shares}: {middle_s * 1e3:.0f} ms, predicted {cell.plan.predicted_s / middle_s - 1:+.1%}"
