"""`python -m lab`: run a scenario, draw its report again, check a scenario's file.

Owns: these commands and how they end. Its rule: whatever ends a run, what was measured is kept, written and drawn, and no machine is
left behind. Not here: the run (`lab/running`), the report (`lab/reporting`).
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from edgesplit.daemon.inference_runtime.telemetry_off import stay_discreet
from lab.scenarios.scenario_file import LoadedScenario, ScenarioInvalid, load

__all__ = ["main"]

OUTPUT = Path("testbed-output")


@click.group()
def main() -> None:
    """Live experiments on an emulated testbed: device, edge and cloud as namespaces of this machine (Linux, root)."""


@main.command()
@click.argument("scenario")
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, show_default=True, help="Folder of results.")
@click.option("--fresh", is_flag=True, help="Throw away what an earlier run of this name measured, and begin anew.")
def run(scenario: str, output: Path, *, fresh: bool) -> None:
    """Run SCENARIO, the name of a shipped one or a TOML file; a stopped run goes on where it was.

    Example: sudo .venv/bin/python -m lab run smoke
    """
    loaded = _loaded(scenario)
    stay_discreet()
    from lab.command import run_scenario  # noqa: PLC0415 - telemetry is switched off before onnxruntime comes

    folder = output / loaded.scenario.scenario.name
    sys.exit(run_scenario(loaded, folder, f"python -m lab {shlex.join(sys.argv[1:])}", fresh=fresh))


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--no-pictures", is_flag=True, help="The page and CSV files alone, which takes seconds.")
@click.option("--short", type=click.Path(path_type=Path, dir_okay=False), help="Also the short version, as Markdown.")
def report(folder: Path, short: Path | None, *, no_pictures: bool) -> None:
    """Draw the report of FOLDER again from its results.json.

    Example: .venv/bin/python -m lab report testbed-output/smoke
    """
    from lab.reporting.commands import draw  # noqa: PLC0415 - drawing needs a while to load

    draw(folder, pictures=not no_pictures, short=short)


@main.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Every figure, not only those that disagree.")
def compare(folders: tuple[Path, ...], *, everything: bool) -> None:
    """Hold runs of one scenario beside each other; status 1 where a ratio to a baseline disagrees beyond its intervals.

    Example: .venv/bin/python -m lab compare testbed-output/smoke evening/smoke
    """
    from lab.reporting.commands import compare as hold  # noqa: PLC0415 - statistics need a while to load

    sys.exit(0 if hold(folders, everything=everything) else 1)


@main.command()
@click.argument("scenario")
def check(scenario: str) -> None:
    """Say whether SCENARIO can be run, and how long it may take.

    Example: .venv/bin/python -m lab check mine.toml
    """
    loaded = _loaded(scenario)
    from lab.running.progress import hours  # noqa: PLC0415
    from lab.running.steps import left_s, steps_of  # noqa: PLC0415

    steps = steps_of(loaded.scenario)
    click.echo(f"{loaded.scenario.scenario.name}: {len(steps)} steps, about {hours(left_s(steps, (), {}))}")


def _loaded(name: str) -> LoadedScenario:
    try:
        return load(name)
    except ScenarioInvalid as error:
        sys.exit(f"lab: {error}")


if __name__ == "__main__":
    main(prog_name="python -m lab")
