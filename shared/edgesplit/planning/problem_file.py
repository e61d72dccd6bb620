"""Reading and writing problem files, `split-problem/1`.

Owns: JSON to a valid `Problem` and back, and the format's JSON Schema, which lies beside this module. Its rule: what is
returned needs no further check; what is wrong is one sentence that names the entry. What the numbers mean stands in
docs/problem-file.md.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

import msgspec

from edgesplit.errors import InvalidProblem
from edgesplit.planning.problem import FORMAT, Problem
from edgesplit.planning.problem_validation import validate

__all__ = ["load_problem", "problem_from_json", "problem_schema", "problem_to_json"]

_SCHEMA = "split-problem-1.schema.json"


def load_problem(path: Path | str) -> Problem:
    """Read a problem file, gzip or plain.

    Raises:
        InvalidProblem: The file cannot be read or an entry is wrong.
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidProblem(
            f"The problem file {path} cannot be read ({error}); check its path and content."
        ) from error
    return problem_from_json(data)


def problem_from_json(data: bytes | str) -> Problem:
    """Decode and validate one problem document.

    Raises:
        InvalidProblem: One sentence that names the entry.
    """
    try:
        problem = msgspec.json.decode(data, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(data, str(error)) from error
    validate(problem)
    return problem


def problem_to_json(problem: Problem) -> bytes:
    """Encode a problem as the document `problem_from_json` reads."""
    return msgspec.json.encode(problem)


def problem_schema() -> bytes:
    """The JSON Schema (draft 2020-12) of problem files; what it cannot say stands in docs/problem-file.md."""
    return resources.files("edgesplit.planning").joinpath(_SCHEMA).read_bytes()


def _malformed(data: bytes | str, detail: str) -> InvalidProblem:
    """Explain why the document does not decode, with the entry's own name where it has one."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        return InvalidProblem(f"The problem is not valid JSON: {error}.")
    message, _, path = detail.partition(" - at `")
    non_finite = _find_non_finite(document, "$")
    if non_finite is not None:
        return InvalidProblem(f"The problem's entry {non_finite} is not a finite number; give a number.")
    if not isinstance(document, dict):
        return InvalidProblem("The problem is not a JSON object; see `split-problem/1`.")
    if document.get("format") != FORMAT:
        return InvalidProblem(f"The problem's format is {document.get('format')!r}; this reads {FORMAT!r}.")
    return InvalidProblem(f"The problem's entry {_label(document, path.rstrip('`') or '$')} is wrong: {message}.")


def _find_non_finite(value: object, path: str) -> str | None:
    """The path of the first NaN or infinity, by names where entries have them."""
    if isinstance(value, float) and not math.isfinite(value):
        return path
    children: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        children = ((f"{path}.{key}", child) for key, child in value.items())
    elif isinstance(value, list):
        children = ((f"{path}[{_entry_name(child, index)}]", child) for index, child in enumerate(value))
    return next((found for where, child in children if (found := _find_non_finite(child, where))), None)


def _entry_name(value: object, index: int) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return repr(name) if isinstance(name, str) else str(index)


def _label(document: Mapping[str, object], path: str) -> str:
    """`$.operators[3].time_s` with the operator's own name beside its index."""
    section, bracket, rest = path.removeprefix("$.").partition("[")
    entries = document.get(section)
    digits = rest.partition("]")[0]
    if bracket and digits.isdigit() and isinstance(entries, list) and int(digits) < len(entries):
        return f"{path} ({_entry_name(entries[int(digits)], int(digits))})"
    return path
