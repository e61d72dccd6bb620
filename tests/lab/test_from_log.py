"""MeasuredRate rates become scenarios: iperf3's log, and times and bytes of a capture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.scenarios.from_log import LogUnusable, MeasuredRate, RateStep, from_iperf, from_list, main, steps
from lab.scenarios.scenario import LinkCut, LinkRestored, RateChange
from lab.scenarios.scenario_file import parse


def iperf(*megabits: float) -> str:
    intervals = [
        {"sum": {"start": float(second), "end": second + 1.0, "bits_per_second": rate * 1e6}}
        for second, rate in enumerate(megabits)
    ]
    return json.dumps({"start": {}, "intervals": intervals, "end": {}})


def test_an_iperf_log_has_a_rate_for_every_interval() -> None:
    assert from_iperf(iperf(40, 8)) == [MeasuredRate(0.0, 1.0, 5e6), MeasuredRate(1.0, 2.0, 1e6)]


@pytest.mark.parametrize(
    "text", ["{}", '{"intervals": []}', '{"error": "unable to connect"}', '{"intervals": [1]}', "[]", "no json"]
)
def test_what_is_no_iperf_log_is_said(text: str) -> None:
    with pytest.raises(LogUnusable):
        from_iperf(text)


def test_packets_are_counted_in_spans_and_silence_is_a_rate_of_nothing() -> None:
    text = "time,bytes\n10.1,1000\n10.9,500 # last of the second\n\n12.0\t3000\n"
    assert from_list(text) == [
        MeasuredRate(0.0, 1.0, 1500.0),
        MeasuredRate(1.0, 2.0, 0.0),
        MeasuredRate(2.0, 3.0, 3000.0),
    ]
    assert from_list("0.0 100\n0.6 100\n", every_s=0.5)[1] == MeasuredRate(0.5, 1.0, 200.0)


@pytest.mark.parametrize("text", ["", "# nothing\n", "1 2\nthree\n"])
def test_a_list_without_times_and_bytes_is_said(text: str) -> None:
    with pytest.raises(LogUnusable):
        from_list(text)


def test_rates_that_scatter_are_one_step() -> None:
    rates = (5e6, 5.5e6, 4.8e6, 1e6, 1.1e6, 0.0, 500.0, 5e6)
    found = steps([MeasuredRate(float(second), second + 1.0, rate) for second, rate in enumerate(rates)])
    assert [step.at_s for step in found] == [0.0, 3.0, 5.0, 7.0]
    assert found[0].bytes_per_s == pytest.approx(5.1e6)
    assert found[-1] == RateStep(7.0, 5e6)


def test_the_printed_scenario_can_be_run(tmp_path: Path) -> None:
    log = tmp_path / "uplink.json"
    log.write_text(iperf(40, 40, 8, 0, 40))
    done = CliRunner().invoke(main, [str(log), "--name", "walk"])
    assert done.exit_code == 0, done.output
    scenario = parse(done.output, "walk.toml", tmp_path).scenario
    assert scenario.scenario.name == "walk"
    assert scenario.dynamics is not None
    assert scenario.dynamics.duration_s == 5.0
    ends = ("device", "edge")
    assert scenario.change == (
        RateChange(at_s=0.0, ends=ends, bytes_per_s=5e6),
        RateChange(at_s=2.0, ends=ends, bytes_per_s=1e6),
        LinkCut(at_s=3.0, ends=ends),
        LinkRestored(at_s=4.0, ends=ends),
        RateChange(at_s=4.0, ends=ends, bytes_per_s=5e6),
    )
    assert "# Made of uplink.json" in done.output


def test_a_link_that_is_not_there_is_said(tmp_path: Path) -> None:
    log = tmp_path / "uplink.txt"
    log.write_text("0 1000000\n1 500000\n")
    done = CliRunner().invoke(main, [str(log), "--ends", "device", "moon"])
    assert done.exit_code != 0
    assert "no [[link]] joins device and moon" in done.output
