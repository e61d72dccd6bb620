"""Models made ready: the same every time, with what the float model answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.running.prepared_models import prepare
from lab.scenarios.scenario import ModelSpec

ZOO = ModelSpec(zoo="transformer_encoder", scale=0.25, size=16, inputs=3)


def test_a_zoo_model_is_the_same_every_time(tmp_path: Path) -> None:
    first, second, other = (
        prepare(ZOO, tmp_path / name, tmp_path, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.sha256 == second.sha256 != other.sha256
    with np.load(first.requests) as one, np.load(second.requests) as two:
        assert all((one[name] == two[name]).all() for name in one.files)
        assert {len(one[name]) for name in one.files} == {3}
    assert len(first.reference) == 3


def test_pictures_have_eight_bits_and_int8_is_looked_into_on_others_of_the_kind(tmp_path: Path) -> None:
    model = prepare(ModelSpec(zoo="mobilenet_v2", scale=0.25, size=32, inputs=3), tmp_path, tmp_path, 1)
    assert model.calibration is not None
    with np.load(model.requests) as asked, np.load(model.calibration) as samples:
        (name,) = asked.files
        assert samples.files == [name]
        pictures = asked[name][:, 0]
        assert samples[name].shape[1:] == pictures.shape[1:]
        for array in (pictures, samples[name]):
            levels = array * 255
            assert np.abs(levels - np.round(levels)).max() < 1e-3
            assert 0 <= levels.min() < 64 < 192 < levels.max() <= 255
        # Neighbours resemble each other, as in photographs; of independent ones this is 1.1.
        assert np.abs(np.diff(pictures, axis=-1)).mean() < 0.7 * pictures.std()
        assert not (pictures[0] == samples[name][0]).all()


def test_noise_is_the_mean_difference_from_what_the_float_model_answers(tmp_path: Path) -> None:
    model = prepare(ZOO, tmp_path, tmp_path, 1)
    assert model.noise({0: model.reference[0], 2: model.reference[2]}) == 0.0
    off = {name: array + np.float32(0.5) for name, array in model.reference[1].items()}
    assert model.noise({0: model.reference[0], 1: off}) == pytest.approx(0.25)
    assert model.noise({}) is None
    assert model.accuracy({0: model.reference[0]}) is None


def test_the_demos_noise_can_be_read_as_accuracy(tmp_path: Path) -> None:
    model = prepare(ModelSpec(demo=True, inputs=4), tmp_path, tmp_path, 1)
    right = model.accuracy(dict(enumerate(model.reference)))
    assert right is not None
    assert right > 0.7
    wrong = {index: {name: -array for name, array in outputs.items()} for index, outputs in enumerate(model.reference)}
    worse = model.accuracy(wrong)
    assert worse is not None
    assert worse < 0.2
    assert model.calibration is not None
