"""Progress of a run, on standard error.

Owns: one function. Its rule: standard output is for results. Not here: results.
"""

from __future__ import annotations

import sys
import time

__all__ = ["say"]


def say(text: str) -> None:
    """Tell how far the run came, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
