"""`python -m bench.shipped_models FILE-OR-FOLDER...`: models as packages ship them, one after another.

Owns: the command line, the table and the document. Its rule: it fails (exit 1) when a model that onnxruntime runs is not
served as onnxruntime runs it. Not here: getting packages; whatever lies in the folders is tried.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.shipped_models.course import Finding, examine
from edgesplit.formatting import size

__all__ = ["main"]

MEGABYTE = 1e6


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.onnx")) if path.is_dir() else [path]


@contextmanager
def _folder(keep: Path | None, file: Path) -> Iterator[Path]:
    """A folder for one model's programs: gone afterwards, unless it is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix=f"{file.stem}-", dir=keep))
        return
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        yield Path(name)


def _document(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it: an infinite difference is null there."""
    document = dataclasses.asdict(finding) | {"right": finding.right}
    for part in ("unsplit", "split"):
        document[part] = {name: value if math.isfinite(value) else None for name, value in document[part].items()}
    return document


def _worst(found: dict[str, float]) -> str:
    return f"{max(found.values()):.0e} of {len(found)}" if found else "-"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _int8(finding: Finding) -> str:
    if finding.int8 is None:
        return "-"
    if finding.int8.why_not:
        return finding.int8.why_not
    noise = f": {finding.int8.noise.text}" if finding.int8.noise is not None else ""
    return f"{finding.int8.operators} of {finding.int8.candidates}{noise}"


def _served(finding: Finding) -> str:
    served = finding.served
    if served is None or served.noise is None:
        return "-" if served is None else served.why_not
    return f"{len(served.operators)} on {len(served.nodes)} nodes: {served.noise.text}"


def _show(findings: list[Finding]) -> None:
    table = Table(
        *("model", "size", "operators (units)", "shape", "sizes", "unsplit: worst", "split: worst", "nodes"),
        *(
            "int8: noise of bound",
            "int8 served: noise of bound",
            "first answer [s]",
            "split [s]",
            "settled [s]",
            "controller, with what it starts, of limit [MB]",
            "failed",
        ),
    )
    for found in findings:
        table.add_row(
            found.model,
            size(found.nbytes),
            f"{found.operators} ({found.units})",
            found.shape or "-",
            ", ".join(found.tried) or "-",
            _worst(found.unsplit),
            _worst(found.split),
            str(len(found.nodes)),
            _int8(found),
            _served(found),
            _seconds(found.first_answer_s),
            _seconds(found.first_split_answer_s),
            _seconds(found.settled_s),
            f"{found.peak_bytes / MEGABYTE:.0f}, {found.all_bytes / MEGABYTE:.0f}, {found.once_bytes / MEGABYTE:.0f} of {found.limit_bytes / MEGABYTE:.0f}",
            found.failed or "-",
        )
    Console(width=250 if not sys.stdout.isatty() else None).print(table)
    print(f"{sum(found.right for found in findings)} of {len(findings)} are served as onnxruntime runs them")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
@click.option("--no-int8", is_flag=True, help="Do not wait for the noise model, and leave int8 out.")
@click.option("--only", metavar="TEXT", multiple=True, help="Only files whose path holds this; may be repeated.")
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep logs and stores of the programs here.",
)
def main(paths: tuple[Path, ...], only: tuple[str, ...], *, as_json: bool, no_int8: bool, keep: Path | None) -> None:
    """Add, deploy, split and ask every .onnx file under PATHS, and compare with plain onnxruntime on the whole file.

    Every model has a broker, a controller and three agents of its own on loopback. It is asked at the planning shape, at two
    other sizes and in a batch of 4, as far as it admits them, before and after pins put its early, middle and late units on
    three nodes. Nothing is fetched: see docs/models.md for packages to try.

    Example: python -m bench.shipped_models ~/packages --json
    """
    # Whoever ends this by a signal has its processes ended, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    findings: list[Finding] = []
    files = [file for file in _files(paths) if not only or any(text in str(file) for text in only)]
    try:
        for number, file in enumerate(files):

            def say(text: str, of: str = f"[{number + 1}/{len(files)}] {file.name}") -> None:
                print(f"{of}: {text}", file=sys.stderr, flush=True)

            with _folder(keep, file) as folder:
                finding = examine(file, folder, say, int8=not no_int8)
            findings.append(finding)
            say(finding.failed or ("right" if finding.right else "WRONG"))
    except KeyboardInterrupt:
        print("interrupted: what was found so far", file=sys.stderr)
    if as_json:
        print(json.dumps([_document(finding) for finding in findings], indent=1))
    else:
        _show(findings)
    broken = any(finding.breaks_bound for finding in findings)
    sys.exit(1 if broken or len(findings) < len(files) or not all(finding.right for finding in findings) else 0)


if __name__ == "__main__":
    main()
