"""What people and programs see of measured noise and of a noise model that proved wrong."""

from __future__ import annotations

import msgspec
import pytest

from edgesplit.operations.model_operations import ShowModel, TighteningDocument
from edgesplit.operations.plan_operations import MeasuredNoise, ShowPlan
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController
from tests.cli.test_asking import MODEL, PLAN

FOUND = MeasuredNoise(samples=5, mean=0.031, max=0.052, last=0.03, deviation=0.01)


@pytest.mark.parametrize(
    ("noise", "texts"),
    [
        (FOUND, ("0.04", "0.031 (5 requests, at most 0.052)")),
        (msgspec.structs.replace(FOUND, samples=1), ("0.031 (1 request, at most 0.052)",)),
        (msgspec.structs.replace(FOUND, measure="my:metric"), ("at most 0.052, my:metric)",)),
        (msgspec.structs.replace(FOUND, exceeds=True), ("the measured noise exceeds its bound",)),
        (MeasuredNoise(note="noise is not checked: no float model"), ("noise is not checked: no float model",)),
    ],
)
def test_measured_noise_stands_beside_the_predicted(
    run: Run, controller: FakeController, noise: MeasuredNoise, texts: tuple[str, ...]
) -> None:
    measured = msgspec.structs.replace(PLAN.measured, noise=noise)
    controller.answers[ShowPlan] = lambda _operation: msgspec.structs.replace(PLAN, measured=measured)
    assert run("plan", "yolo", "--json").document["measured"]["noise"] == msgspec.to_builtins(noise)
    people = run("plan", "yolo").out
    for text in texts:
        assert text in people, text


@pytest.mark.parametrize(
    ("float_only", "text"), [(False, "noise is predicted 3.2 times higher"), (True, "only float is planned")]
)
def test_a_tightened_noise_model_is_told(run: Run, controller: FakeController, float_only: bool, text: str) -> None:
    tightening = TighteningDocument(
        factor=3.2,
        float_only=float_only,
        epoch=7,
        samples=5,
        predicted=0.1,
        measured=0.32,
        bound=0.12,
        at_unix_s=0.0,
    )
    controller.answers[ShowModel] = lambda _operation: msgspec.structs.replace(MODEL, noise_tightening=tightening)
    assert run("model", "show", "yolo", "--json").document["noise_tightening"]["factor"] == 3.2
    people = run("model", "show", "yolo").out
    assert text in people
    assert "epoch 7 had 0.32 on average over 5 checked" in people


def test_the_fit_stands_beside_the_figure_and_says_from_which_bound_on_int8_is_possible(
    run: Run, controller: FakeController
) -> None:
    assert MODEL.noise_model is not None
    fitted = msgspec.structs.replace(MODEL.noise_model, form="root", least_noise=0.02)
    controller.answers[ShowModel] = lambda _operation: msgspec.structs.replace(MODEL, noise_model=fitted)
    people = " ".join(run("model", "show", "yolo").out.split())
    assert "R² 0.99 (training), 0.98 (test), over a curve (root)" in people
    assert "all quantized: 0.4, least bound with any: 0.02" in people
