"""Commands on runs that are done, carried out: `report` draws one again, `compare` holds several beside each other.

Owns: what they print. Its rule: runs agree or not by their ratios to baselines, which were measured in the same minutes; medians are told, too.
Not here: options and exit statuses (`lab/__main__.py`), making runs (`lab/running`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from lab.comparing.intervals import Estimate
from lab.reporting.analysis.prediction_errors import errors_by_configuration
from lab.reporting.analysis.run_agreement import Agreement, agreements
from lab.reporting.report import write_report, write_short
from lab.reporting.wording import moment, of_ratio, of_seconds, of_share, with_interval
from lab.results import Results, read_results

__all__ = ["compare", "draw"]


def draw(folder: Path, *, pictures: bool = True, short: Path | None = None) -> None:
    """Draw a run's report, and write its short version where that is wanted; says where.

    Raises:
        click.UsageError: The folder has no results.
    """
    _read(folder)
    page, *others = write_report(folder, pictures=pictures)
    click.echo(page)
    click.echo(f"{len(others)} files beside it")
    if short is not None:
        page, *others = write_short(folder, short)
        click.echo(page)
        click.echo(f"{len(others)} pictures in {short.with_suffix('')}")


def compare(folders: Sequence[Path], *, everything: bool) -> bool:
    """Hold runs beside each other, and say what disagrees or is missing in one; whether no ratio to a baseline disagrees.

    Raises:
        click.UsageError: They cannot be compared.
    """
    runs = [_read(folder) for folder in folders]
    if len(runs) < 2:
        raise click.UsageError("two folders or more: one run agrees with itself")
    if len({run.digest for run in runs}) > 1:
        raise click.UsageError("these runs are of different scenarios (their digests differ)")
    for folder, run in zip(folders, runs, strict=True):
        _errors(folder, run)
    found = agreements(runs)
    for kind, name in (("ratio", "ratios to baselines"), ("median", "medians of latencies")):
        _summary([one for one in found if one.kind == kind], name, folders, everything=everything)
    return not any(one.agree is False for one in found if one.kind == "ratio")


def _read(folder: Path) -> Results:
    try:
        return read_results(folder / "results.json")
    except FileNotFoundError as error:
        raise click.UsageError(f"there is no results.json in {folder}: run a scenario first") from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise click.UsageError(f"{folder / 'results.json'} is no results of the lab: {error}") from error


def _errors(folder: Path, run: Results) -> None:
    click.echo(f"{folder}: begun {moment(run.began_unix_s)}{'' if run.complete else ', not finished'}")
    for errors in errors_by_configuration(run.cells):
        covered = (
            "no interval stated" if errors.covered is None else f"inside the interval {of_share(errors.covered.value)}"
        )
        click.echo(
            f"  {errors.name}: {len(errors.cells)} cells, error mean {of_share(errors.mean.value)}, worst {of_share(errors.worst)}, {covered}; "
            f"control over the run {of_share(errors.loop_spread)}"
        )


def _summary(found: Sequence[Agreement], name: str, folders: Sequence[Path], *, everything: bool) -> None:
    said = [one for one in found if one.agree is not None]
    apart = [one for one in said if not one.agree]
    lacking = [one for one in found if one.first is None or one.second is None]
    click.echo(f"{name}: {len(said) - len(apart)} of {len(said)} agree; {len(lacking)} in one run only")
    for one in found if everything else [*apart, *lacking]:
        first, second = (folders[place] for place in one.runs)
        verdict = {True: "agree", False: "APART", None: "not comparable"}[one.agree]
        click.echo(f"  {verdict}: {one.what}: {first} {_value(one, one.first)}, {second} {_value(one, one.second)}")


def _value(one: Agreement, value: Estimate | None) -> str:
    if value is None:
        return "not measured"
    return with_interval(value, of_ratio if one.kind == "ratio" else of_seconds)
