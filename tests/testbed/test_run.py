"""A tiny scenario on the real testbed (root): stopped by Ctrl-C it leaves nothing but its journal, and goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.results import read_results
from lab.testbed.requirements import unavailable
from tests.testbed.test_testbed import left_behind
from tests.waiting import blocking_until

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = """\
[scenario]
name = "tiny"
[[machine]]
name = "device"
slow_down = 4.0
pinned_to = [0]
[[machine]]
name = "edge"
pinned_to = [1]
[[link]]
ends = ["device", "edge"]
there_bytes_per_s = 5e6
delay_there_s = 0.005
[[model]]
zoo = "transformer_encoder"
scale = 0.25
size = 64
max_quantizable = 2
inputs = 3
[grid]
configurations = [["device"], ["device", "edge"]]
weights = [[1, 0], [0, 1]]
requests = 4
warm_up = 1
rounds = 2
[baselines]
methods = ["edge"]
[[change]]
at_s = 4
what = "rate"
ends = ["device", "edge"]
bytes_per_s = 1e6
[dynamics]
duration_s = 8
"""


def started(path: Path, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab", "run", str(path), "--output", str(output)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.root
@pytest.mark.timeout(600)
def test_a_stopped_run_leaves_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    if reason := unavailable():
        pytest.skip(reason)
    path, output = tmp_path / "tiny.toml", tmp_path / "output"
    path.write_text(TINY)
    journal, results = output / "tiny" / "journal.jsonl", output / "tiny" / "results.json"
    first = started(path, output)
    blocking_until(
        lambda: first.poll() is not None or (journal.exists() and journal.read_text().count('"type":"cell"') >= 2),
        "two cells",
        within_s=240,
    )
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert "nothing is left running" in said
    assert left_behind() == []
    partial = read_results(results)
    assert not partial.complete
    assert len(partial.cells) + len(partial.baselines) >= 2
    second = started(path, output)
    _, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert "tiny: resumed behind" in said
    assert left_behind() == []
    whole = read_results(results)
    assert whole.complete
    assert whole.failures == []
    assert len(whole.cells) == 2 * 2 * 2
    assert len(whole.baselines) == 2 * 2
    assert {cell.id: cell.latencies_s for cell in partial.cells}.items() <= {
        cell.id: cell.latencies_s for cell in whole.cells
    }.items()
    assert [len(cell.latencies_s) for cell in (*whole.cells, *whole.baselines)] == [4] * 12
    assert all(cell.noise_measured is not None and cell.noise_measured < 1e-4 for cell in whole.cells)
    assert [run.strategy for run in whole.dynamics] == ["edgesplit"]
    assert not any(request.failed for request in whole.dynamics[0].requests)
