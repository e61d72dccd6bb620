"""Sentences on a terminal: wrapped between words, whole on a line in a pipe.

Owns: how wide the output is, and a sentence behind a head. Its rule: a word is never broken. Not here: tables
(`cli/views/layout.py`); this module loads nothing slow.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

__all__ = ["ENDLESS", "NARROWEST", "hanging", "terminal_width"]

ENDLESS = 100_000
"""Columns of a pipe."""
NARROWEST = 24
"""What sentences are left at least, unless their words are longer."""


def terminal_width() -> int:
    """Columns of standard output; as many as it takes where it is no terminal and `COLUMNS` says nothing."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return int(os.environ.get("COLUMNS", "") or ENDLESS)


def hanging(head: str, text: str, width: int) -> str:
    """A head and a text behind it on one line, or below it, indented and wrapped between words.

    Args:
        head: Never wrapped.
        text: One sentence or more.
        width: Columns there are.
    """
    if len(head) + 1 + len(text) <= width:
        return f"{head} {text}"
    indent = " " * 4
    lines = textwrap.wrap(
        text,
        max(width, NARROWEST),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join([head.rstrip(), *lines])
