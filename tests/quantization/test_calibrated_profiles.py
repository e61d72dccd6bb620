"""The way from a model to a profile with costs of changes of form, through the agent's own profiler."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bench.profiled_models import profiled
from edgesplit_controller.quantization.transitions import KINDS
from tests.quantization.support import branched


def test_a_profile_holds_kernels_and_costs_of_changes(tmp_path: Path) -> None:
    path = tmp_path / "branched.onnx"
    onnx.save(branched(), str(path))
    model = profiled(path, tmp_path, limit=12)
    profile = model.profile
    assert sum(profile.time_s.values()) == pytest.approx(profile.whole_s)
    assert set(profile.integer_time_s) == set(profile.quantized_time_s) == set(model.quantizable)
    # Kernels alone never take longer than with the conversions around them.
    assert all(profile.integer_time_s[unit] <= profile.quantized_time_s[unit] + 1e-12 for unit in model.quantizable)
    assert set(profile.transition_s_per_byte) <= set(KINDS)
    assert all(cost > 0 for cost in profile.transition_s_per_byte.values())
