"""Large libraries, imported when something of them is first used.

Owns: the one way in which a module is imported late. Its rule: what is imported late is named here or, for a module of ours, where it is used; type
checkers see the module itself. Not here: onnxruntime (`daemon/inference_runtime/late_runtime.py`), which has no types.

numpy and aiohttp take a dozen megabytes each and a fifth of a second, which an agent that holds no model has no use for. Of a late module
functions and classes are used, within functions: a base class, a decorator or a constant would import it with the module that has it.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp
    import numpy as np

__all__ = ["LateModule", "aiohttp", "import_late", "imported", "np"]

_turn = threading.RLock()


def import_late(name: str) -> ModuleType:
    """Import a module while no other thread imports one late.

    Python's own locks are those of single modules: two threads that come to parts of numpy by different ways at once, one of them with
    onnxruntime, would wait for each other, and Python then hands out what is only half there.
    """
    with _turn:
        return importlib.import_module(name)


class LateModule(ModuleType):
    """Stands for a module until something of it is used.

    Any thread may be the first (`import_late`). From then on it is a plain module with the same contents, so that nothing is slower where
    tensors pass.
    """

    def __getattr__(self, name: str) -> Any:
        """Something of it is used for the first time."""
        module = import_late(self.__name__)
        self.__dict__.update(vars(module))
        self.__class__ = ModuleType  # type: ignore[assignment]  # Python allows it between kinds of modules
        return getattr(module, name)


async def imported(module: ModuleType) -> None:
    """Have a late module imported in a thread, so that the event loop goes on meanwhile."""
    await asyncio.to_thread(import_late, module.__name__)


if not TYPE_CHECKING:
    aiohttp = LateModule("aiohttp")
    np = LateModule("numpy")
