"""The commands of README.md for three machines, taken from README.md itself, so that they cannot rot.

Owns: finding the blocks, and filling in what a reader would. Its rule: a block runs as it is printed but for the values
of its placeholders, and a title that says nothing of which machine is an error. Not here: the machines (`fleet.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.services.material import REPOSITORY

__all__ = ["JOIN_LINE", "PLACEHOLDERS", "Block", "blocks", "script"]

SECTION = "## On three real machines\n"
PLACEHOLDERS = ("EXTRAS",)
"""What a reader replaces; the first block gives each a value and says what it means."""
JOIN_LINE = "edgesplit-agent join https://192.0.2.11:7480 --token esj_..."
"""For which a reader takes the line that was printed for the machine."""
_BLOCK = re.compile(r"^\*\*On (every|the first) machine: ([^*]+)\*\*\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"^([A-Z]+)=(\S+)(\s+# .*)?$")


@dataclass(frozen=True)
class Block:
    """Commands to run one after the other.

    Attributes:
        first_only: On the first machine, otherwise on every one.
        title: What they do.
        commands: Lines of a shell, as printed.
    """

    first_only: bool
    title: str
    commands: tuple[str, ...]


def blocks(text: str | None = None) -> tuple[Block, ...]:
    """The blocks of the section, in order.

    Args:
        text: Of README.md; by default this checkout's.
    """
    whole = text if text is not None else (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = whole.partition(SECTION)[2].partition("\n## ")[0]
    found = tuple(
        Block(where == "the first", title, tuple(lines.splitlines())) for where, title, lines in _BLOCK.findall(section)
    )
    assert section.count("```") == 2 * len(found), "a block without a title that says on which machine it runs"
    return found


def script(block: Block, values: Mapping[str, str], join_line: str = JOIN_LINE) -> str:
    """A block with the reader's values in place of its placeholders, as a script that ends at the first failure.

    Variables that an earlier block set are set again, for each block runs in a shell of its own.

    Args:
        block: Of README.md.
        values: Of the placeholders, by name.
        join_line: As it was printed for the machine.
    """
    lines = ["set -eux"]
    set_here: set[str] = set()
    for command in block.commands:
        match = _ASSIGNMENT.match(command)
        if match is None:
            lines.append(command.replace(JOIN_LINE, join_line))
        else:
            set_here.add(match[1])
            lines.append(f"{match[1]}={values[match[1]]}")
    earlier = [f"{name}={value}" for name, value in values.items() if name not in set_here]
    return "\n".join([*earlier, *lines])
