"""Estimators of node speed, replayed side by side: the command."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.estimator.contestants import CONTESTANTS
from bench.estimator.forecasts import Forecast, forecast
from bench.estimator.recorder import Disturbance, recorded
from bench.estimator.recordings import read_recording, written_recording
from bench.estimator.scores import ESTIMATORS, pooled
from bench.estimator.tables import document, forecast_table, score_table

__all__ = ["main"]

CLOCKS = {"wall": time.perf_counter, "thread": time.thread_time}
DISTURBED = (Disturbance(60.0, 120.0), Disturbance(150.0, 155.0), Disturbance(170.0, 175.0), Disturbance(190.0, 195.0))


@click.command()
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Replay this file too; may be given several times.",
)
@click.option("--seeds", default=5, show_default=True, help="Simulations of each scenario; 0 for recordings alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one document instead of tables.")
@click.option(
    "--make-recording",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Run a model on one core, write what was observed, and do nothing else.",
)
@click.option("--seconds", default=240.0, show_default=True, help="Of the recording that is made. [s]")
@click.option("--disturbed", is_flag=True, help="Another process takes the same core for a minute and in bursts.")
@click.option("--clock", type=click.Choice(sorted(CLOCKS)), default="wall", show_default=True, help="Of the runs.")
def main(
    recordings: tuple[Path, ...],
    seeds: int,
    *,
    as_json: bool,
    make_recording: Path | None,
    seconds: float,
    disturbed: bool,
    clock: str,
) -> None:
    """Replay simulations and recordings through the estimator, 0.1's, and, where the truth is known, an oracle.

    Example: python -m bench.estimator --seeds 20 --recording tests/controller/recordings/steady.jsonl
    """
    if make_recording is not None:
        found = recorded(seconds, 1.2, DISTURBED if disturbed else (), CLOCKS[clock], click.echo)
        written_recording(make_recording, found)
        click.echo(f"{make_recording}: {len(found)} observations, {make_recording.stat().st_size / 1e3:.0f} kB")
        return
    began_s = time.monotonic()
    scores = pooled(ESTIMATORS, seeds)
    forecasts = {
        f"{path.stem}, {node}, {model}": {name: forecast(observations, name) for name in CONTESTANTS}
        for path in recordings
        for (node, model), observations in read_recording(path).items()
    }
    if as_json:
        click.echo(json.dumps({"simulations": document(scores), "recordings": _plain(forecasts)}, indent=2))
        return
    console = Console(width=170)
    if scores:
        console.print(score_table(scores, seeds))
    if forecasts:
        console.print(forecast_table(forecasts))
    click.echo(f"replayed in {time.monotonic() - began_s:.0f} s", err=True)


def _plain(forecasts: dict[str, dict[str, Forecast]]) -> dict[str, Any]:
    return {name: {by: asdict(entry) for by, entry in found.items()} for name, found in forecasts.items()}


if __name__ == "__main__":
    main()
