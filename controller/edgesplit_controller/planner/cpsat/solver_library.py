"""CP-SAT's Python interface, loaded without pandas.

Owns: the import of `cp_model`, and what it does not promise of itself. Its rule: of pandas it needs two names in annotations and in
questions whether an argument is a series, which none here ever is; they are lent to it while it loads, where the installed
version was tried so. With any other one, or where pandas is there already, it is loaded as it is. Not here: its use.

pandas would take 35 MB of memory and half a second of every start, in the controller and in `splitctl solve`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from types import ModuleType

from edgesplit.private_parts import TriedWith

__all__ = ["TRIED", "cp_model"]

TRIED = TriedWith("ortools", "9.15", "9.16")

_LENT = "pandas"


def _load() -> None:
    if _LENT in sys.modules or not TRIED.covers(importlib.metadata.version(TRIED.library)):
        return
    stand_in = ModuleType(_LENT)
    for name in ("Index", "Series"):
        setattr(stand_in, name, type(name, (), {}))
    sys.modules[_LENT] = stand_in
    try:
        importlib.import_module("ortools.sat.python.cp_model")
    except AttributeError:  # a build that needs more of it: what is half loaded is not among the modules
        return
    finally:
        del sys.modules[_LENT]


_load()

from ortools.sat.python import cp_model  # noqa: E402 - it finds what was loaded above
