"""Random plans through three live agents give the unsplit model's outputs."""

from __future__ import annotations

from pathlib import Path

from bench.split_equality import TOLERANCE, prove


def test_random_splits_through_live_agents_equal_the_whole_model(small_model: Path, tmp_path: Path) -> None:
    proof = prove(small_model, tmp_path, in_process=2, live=3)
    assert len(proof.live) == 3
    assert max(proof.components) > 3
    assert proof.worst <= TOLERANCE
