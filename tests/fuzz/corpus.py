"""The inputs that are kept: seeds, one a file, and what fuzzing found, one a line of hexadecimal digits.

Owns: the folder `corpus/`. Its rule: small; an input that once broke something is a file named for what it broke. Not
here: running them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.seeds import seeds

__all__ = ["CORPUS", "keep", "kept", "write_seeds"]

CORPUS = Path(__file__).parent / "corpus"
_FOUND = "found.hex"
_LONGEST_BYTES = 256


def kept() -> Iterator[tuple[str, str, bytes]]:
    """Target, name, input."""
    for path in sorted(path for folder in CORPUS.iterdir() for path in folder.iterdir()):
        if path.name != _FOUND:
            yield path.parent.name, path.name, path.read_bytes()
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield path.parent.name, f"{_FOUND}:{number}", bytes.fromhex(line)


def write_seeds() -> None:
    """Write a file for each seed."""
    for target, name, data in seeds():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def keep(target: str, found: Path) -> None:
    """Replace a target's found inputs by the short ones in a folder that fuzzing filled; defects stay there."""
    inputs = {path.read_bytes() for path in found.iterdir() if not path.name.startswith("defect-")}
    lines = sorted(
        (data.hex() for data in inputs if 0 < len(data) <= _LONGEST_BYTES), key=lambda line: (len(line), line)
    )
    (CORPUS / target / _FOUND).write_text("".join(f"{line}\n" for line in lines))
