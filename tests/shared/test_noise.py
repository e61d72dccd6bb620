"""What noise is: rho, and metrics of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesplit.errors import InvalidMetric
from edgesplit.planning.output_noise import Measure, comparable, load_metric
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array

Outputs = dict[str, Array]
REFERENCE: Outputs = {"y": np.array([1.0, 2.0], np.float32), "label": np.array([3], np.int64)}
NOISY: Outputs = {"y": np.array([1.5, 2.0], np.float32), "label": np.array([5], np.int64)}


def test_rho_is_the_mean_over_outputs() -> None:
    measure = Measure(("y", "label"))
    assert measure.parts(REFERENCE, NOISY) == [0.25, 2.0]
    assert measure.noise(REFERENCE, NOISY) == 1.125


def test_outputs_without_numbers_or_a_fixed_size_do_not_count() -> None:
    specs = [
        TensorSpec(name="y", dtype="float32", shape=(1, 2)),
        TensorSpec(name="open", dtype="float32", shape=(-1, 2)),
        TensorSpec(name="none", dtype="int64", shape=(0,)),
        TensorSpec(name="pairs", dtype="object", shape=()),
        TensorSpec(name="flag", dtype="bool", shape=()),
    ]
    assert comparable(specs) == ("y", "flag")


def test_a_metric_takes_the_place_of_rho() -> None:
    measure = Measure((), lambda one, other: float(one["label"][0] != other["label"][0]), "m:f")
    assert measure.noise(REFERENCE, NOISY) == 1.0
    measure.check(REFERENCE)


def spoil(reference: Outputs, _noisy: Outputs) -> float:
    reference["y"][0] = 7.0
    return 0.0


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda _one, _other: float("nan"), "gave nan"),
        (lambda _one, _other: -0.5, "gave -0.5"),
        (lambda one, _other: one["z"], "KeyError: 'z'"),
        (lambda _one, _other: "much", "ValueError"),
        (spoil, "read-only"),
    ],
)
def test_a_metric_that_gives_no_noise_is_told_in_one_sentence(
    metric: Callable[[Outputs, Outputs], float], said: str
) -> None:
    with pytest.raises(InvalidMetric) as raised:
        Measure((), metric, "m:f").noise(REFERENCE, NOISY)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert REFERENCE["y"][0] == 1.0


def test_a_metric_that_sees_noise_in_equal_outputs_is_refused() -> None:
    with pytest.raises(InvalidMetric, match=r"gives 0\.5 for equal outputs"):
        Measure((), lambda _one, _other: 0.5, "m:f").check(REFERENCE)


def test_only_allowed_metrics_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metric.py").write_text("def f(a, b):\n    return 0.0\nnumber = 3\n", encoding="utf-8")
    (tmp_path / "my_trap.py").write_text("raise SystemError('trap')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    allowed = ("my_metric:f", "my_metric:number", "my_metric:g", "my_trap:f", "nowhere:f")
    assert load_metric("my_metric:f", allowed, "[models] metrics")({}, {}) == 0.0
    for name, said in {
        "os:system": r"not allowed here: add it to \[models\] metrics",
        "my_metric": "form module:function",
        "my_metric:number": "no function but int",
        "my_metric:g": "cannot be imported",
        "my_trap:f": "SystemError: trap",
        "nowhere:f": "No module named 'nowhere'",
    }.items():
        with pytest.raises(InvalidMetric, match=said):
            load_metric(name, allowed, "[models] metrics")
