"""Leaves of nested outputs of a torch program, by `torch.utils._pytree`: a private part of torch.

Owns: every use of it. Its rule: tried with the versions of `TRIED`; with any other one, outputs keep the names that torch
gave them, and nested lists, tuples and dictionaries are walked here. Not here: exporting (`cli/model_files/torch_export.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgesplit.private_parts import TriedWith

__all__ = ["TRIED", "leaves", "named_leaves"]

TRIED = TriedWith("torch", "2.6", "2.14")


def named_leaves(torch: Any, names: Sequence[str], structure: Any) -> list[tuple[Sequence[Any], str]]:
    """The way to each output in what the module returns, and its name.

    Args:
        torch: The module.
        names: Of outputs, in order.
        structure: How the program nests them.
    """
    if not TRIED.covers(torch.__version__):
        return [((), name) for name in names]
    pytree = torch.utils._pytree
    return list(pytree.tree_flatten_with_path(pytree.tree_unflatten(list(names), structure))[0])


def leaves(torch: Any, answer: Any) -> list[Any]:
    """Everything nested in an answer, in torch's order (dictionaries in the order of their keys' insertion)."""
    if not TRIED.covers(torch.__version__):
        return list(_walked(answer))
    return list(torch.utils._pytree.tree_leaves(answer))


def _walked(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for child in value.values():
            yield from _walked(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _walked(child)
    else:
        yield value
