"""`make bench`: every benchmark in turn, each a process of its own; the exit status is the worst of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from lab.testbed.requirements import unavailable

__all__ = ["main"]

MATERIAL = Path(__file__).resolve().parents[2] / "shared"
"""Problems and models that lie beside a checkout; without them the shipped ones alone are used."""


def _commands(models: Path | None) -> list[list[str]]:
    planner = ["bench.planner"]
    equality = ["bench.split_equality"]
    noise = ["bench.noise"]
    profiles = ["bench.profile_accuracy"]
    if models is not None:
        equality += ["--models", str(models)]
        profiles += ["--models", str(models)]
    commands = [
        equality,
        ["bench.streaming"],
        ["bench.overhead"],
        ["bench.secure"],
        ["bench.branches"],
        ["bench.rate"],
        ["bench.many_sources"],
        ["bench.robustness"],
        ["bench.batching"],
        ["bench.switching"],
        ["bench.replanning"],
        ["bench.failures"],
        ["bench.chaos"],
        ["bench.controller_kills", "--times", "1"],
        ["bench.slow_reader"],
        profiles,
        noise,
        ["bench.codecs"],
        ["bench.estimator"],
    ]
    if not unavailable():
        commands.append(["bench.end_to_end"])
    return [planner, *commands] if (MATERIAL / "problems").is_dir() else commands


@click.command()
@click.option(
    "--models",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of more ONNX files to split.",
)
def main(models: Path | None) -> None:
    """Run all benchmarks.

    Example: python -m bench --models ~/onnx
    """
    worst = 0
    for module, *arguments in _commands(models):
        click.echo(f"--- python -m {module} {' '.join(arguments)}")
        worst = max(worst, subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode)
    sys.exit(worst)


if __name__ == "__main__":
    main()
