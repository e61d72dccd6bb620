"""Verdicts of claims on results made up so that the right one is known."""

from __future__ import annotations

import pytest

from lab.comparing.cell_goals import missing_goals
from lab.comparing.wins import wins
from lab.play_results import DynamicRun, OraclePlan, Reaction, ScriptedChange, TracedRequest
from lab.reporting.analysis.claims import EvidenceClaim, claims
from lab.reporting.analysis.prediction_errors import errors_by_configuration
from lab.results import Cell, Results
from tests.lab.made_up_results import made_up_results


def judged(results: Results) -> dict[str, EvidenceClaim]:
    return {claim.name: claim for claim in claims(results, wins(results, resamples=400))}


@pytest.fixture(scope="module")
def whole() -> Results:
    return made_up_results(complete=True)


def test_wins_over_every_baseline_meet_the_claims(whole: Results) -> None:
    found = judged(whole)
    faster = {f"faster-than-the-study-{model}" for model in whole.models}
    assert faster
    met = {"never-slower", "never-hungrier", *faster, "planning", "deployment", "noise-profiling"}
    assert {found[name].verdict for name in met} == {"met"}
    assert found["never-slower"].interval
    assert all(claim.command == "python -m lab run made-up" and claim.data.endswith(".csv") for claim in found.values())


def test_one_plan_that_is_really_slower_misses_the_claim() -> None:
    def slowness(cell: Cell) -> float:
        return 1.3 if len(cell.nodes) == 2 and cell.max_noise == 0.05 and cell.latency_weight == 1 else 1.0

    found = judged(made_up_results(slowness=slowness, complete=True))
    assert found["never-slower"].verdict == "missed"
    assert "device + edge" in found["never-slower"].basis
    assert found["never-hungrier"].verdict == "met"


def test_a_plan_that_may_or_may_not_be_slower_is_undecided() -> None:
    def slowness(cell: Cell) -> float:
        return 1.095 if len(cell.nodes) == 1 and cell.max_noise == 0.0 and cell.latency_weight == 1 else 1.0

    assert judged(made_up_results(slowness=slowness, complete=True))["never-slower"].verdict == "undecided"


def test_one_round_of_energies_has_no_interval_and_decides_nothing() -> None:
    found = judged(made_up_results(rounds=1, complete=True))["never-hungrier"]
    assert (found.verdict, found.interval) == ("undecided", "")


def test_a_claim_about_every_cell_is_undecided_while_one_is_missing(whole: Results) -> None:
    gone = [cell for cell in whole.cells if (len(cell.nodes), cell.max_noise) != (3, 0.1)]
    results = made_up_results(complete=True)
    results.cells = gone
    found = judged(results)["never-slower"]
    assert found.verdict == "undecided"
    assert found.missing == ("yolo-seg, device + edge + cloud, latency weight 1, energy weight 0, max noise 0.1",)


def test_what_was_not_measured_is_said_so() -> None:
    results = made_up_results(complete=True)
    results.baselines, results.dynamics, results.cells = [], [], []
    results.models["yolo-seg"].noise_s = None
    assert {claim.verdict for claim in judged(results).values()} == {"not measured"}


def test_a_plan_that_is_the_baselines_very_plan_is_neither_better_nor_worse() -> None:
    results = made_up_results(complete=True)
    own = {(cell.id): cell for cell in results.cells}
    for other in results.baselines:
        if other.method == "device" and len(other.nodes) == 1:
            twin = own[other.id.partition("/")[2]]
            other.shared_with, other.latencies_s, other.energy_j = twin.id, twin.latencies_s, twin.energy_j
    found = [win for win in wins(results, resamples=400) if len(win.goals.nodes) == 1]
    assert {(win.ratio.value, win.ratio.interval, win.same_plan) for win in found} == {(1.0, (1.0, 1.0), True)}
    assert judged(results)["never-slower"].verdict == "met"


def test_predictions_that_are_off_miss_with_the_worst_cell_named() -> None:
    results = made_up_results(complete=True)
    results.cells[0].plan.predicted_s *= 1.2
    found = judged(results)
    assert found["prediction-device"].verdict == "missed"
    assert found["prediction-device-edge"].verdict == "met"
    errors = errors_by_configuration(results.cells)[0]
    assert (errors.nodes, errors.worst_cell) == (("device",), results.cells[0].id)


def test_a_plan_that_several_goals_gave_counts_once() -> None:
    results = made_up_results(complete=True)
    first, second = results.cells[:2]
    second.shared_with, second.latencies_s, second.plan = first.id, first.latencies_s, first.plan
    errors = errors_by_configuration(results.cells)[0]
    assert errors.visits - len(errors.cells) == 1


def test_another_prediction_of_the_same_requests_counts_too() -> None:
    results = made_up_results(complete=True)
    first, second = results.cells[:2]
    second.shared_with, second.latencies_s = first.id, first.latencies_s
    second.plan.predicted_s = 1.5 * first.plan.predicted_s
    errors = errors_by_configuration(results.cells)[0]
    assert (errors.visits, errors.worst_cell) == (len(errors.cells), second.id)


@pytest.mark.parametrize(("width", "verdict"), [(0.04, "missed"), (0.019, "met"), (0.002, "missed")])
def test_stated_intervals_may_be_neither_too_wide_nor_too_narrow(width: float, verdict: str, whole: Results) -> None:
    results = made_up_results(complete=True)
    for cell in results.cells:
        middle = cell.plan.interval_s
        assert middle is not None
        latency_s = (middle[0] + middle[1]) / 2
        cell.plan.interval_s = (latency_s * (1 - width), latency_s * (1 + width))
    assert judged(results)["stated-intervals"].verdict == verdict


def test_a_plan_beyond_its_noise_bound_is_named() -> None:
    results = made_up_results(complete=True)
    assert judged(results)["noise-bound"].verdict == "met"
    results.cells[3].noise_measured = results.cells[3].max_noise * 1.1
    found = judged(results)["noise-bound"]
    assert found.verdict == "missed"
    assert results.cells[3].id in found.basis
    for cell in results.cells:
        cell.noise_measured = None
    assert judged(results)["noise-bound"].verdict == "not measured"


def test_a_lost_request_or_a_late_reaction_misses() -> None:
    results = made_up_results(complete=True)
    changes = [ScriptedChange(at_s=1.0, what="edge dies"), ScriptedChange(at_s=5.0, what="edge returns")]
    reactions = [Reaction(change=0, within_5_percent_s=3.0), Reaction(change=1, within_5_percent_s=12.0)]
    requests = [TracedRequest(at_s=0.5, latency_s=0.2), TracedRequest(at_s=1.2, failed=True)]
    results.dynamics = [
        DynamicRun(
            strategy="edgesplit",
            oracle_s=[OraclePlan(from_s=0.0, to_s=10.0, latency_s=0.2)],
            model="yolo-seg",
            at_unix_s=0.0,
            changes=changes,
            reactions=reactions,
            requests=requests,
        )
    ]
    found = judged(results)
    assert found["as-good-as-the-oracle"].verdict == "missed"
    assert "edge returns" in found["as-good-as-the-oracle"].basis
    assert "edge dies" not in found["as-good-as-the-oracle"].basis
    assert (found["no-request-lost"].verdict, found["no-request-lost"].value) == ("missed", "1 of 2 lost")


def test_a_plan_that_is_not_the_oracles_in_time_misses_whatever_requests_took() -> None:
    results = made_up_results(complete=True)
    (own,) = [run for run in results.dynamics if run.strategy == "edgesplit"]
    results.dynamics = [own]
    assert judged(results)["plans-like-the-oracle"].verdict == "met"
    own.reactions[1].plan_within_5_percent_s = 10.5
    found = judged(results)["plans-like-the-oracle"]
    assert found.verdict == "missed"
    assert own.changes[1].what in found.basis
    own.plan_costs = []
    assert judged(results)["plans-like-the-oracle"].verdict == "not measured"


def test_reactions_without_an_oracle_beside_them_are_not_measured() -> None:
    results = made_up_results(complete=True)
    own = [run for run in results.dynamics if run.strategy == "edgesplit"]
    results.dynamics = own
    whole = own[0].oracle_s
    own[0].oracle_s = whole[:2]
    found = judged(results)["as-good-as-the-oracle"]
    assert (found.verdict, len(found.missing)) == ("undecided", 3)
    own[0].oracle_s = []
    assert judged(results)["as-good-as-the-oracle"].verdict == "not measured"


def test_the_source_may_compute_in_every_configuration_that_is_asked_for() -> None:
    results = made_up_results(complete=True)
    results.scenario["machine"] = [{"name": name} for name in ("device", "edge", "cloud")]
    results.scenario["grid"] = {**results.scenario["grid"], "configurations": [["edge"], ["cloud", "edge", "device"]]}
    assert missing_goals(results) == []
    results.scenario["grid"]["configurations"].append(["cloud"])
    assert {goals.nodes for goals in missing_goals(results)} == {("device", "cloud")}
