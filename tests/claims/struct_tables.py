"""Tables of docs/ that say which keys a type has, from its fields and its docstring.

Owns: a type's keys in JSON's words, with unit and meaning. Its rule: a field without a meaning is an error. Not here: which
types stand on which page (`tests/claims/doc_tables.py`, `tests/claims/protocol_tables.py`).
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

__all__ = ["UNIT", "Struct", "for_json", "meanings", "section", "structs_in", "summary", "table", "type_text", "visit"]

UNIT = re.compile(r"\s*\[([^\[\]]+)\]$")

Struct = type[msgspec.Struct]


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def visit(struct: Struct, found: dict[Struct, None]) -> None:
    """Note a type and those its fields consist of."""
    if struct in found:
        return
    found[struct] = None
    for field in msgspec.structs.fields(struct):
        for part in structs_in(field.type):
            visit(part, found)


def structs_in(hint: Any) -> Iterator[Struct]:
    """The structs that a type names, however deep."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for argument in typing.get_args(hint):
        yield from structs_in(argument)


def meanings(struct: Struct) -> dict[str, tuple[str, str]]:
    """Field to its meaning and its unit, as the docstring's `Attributes:` say."""
    said: dict[str, tuple[str, str]] = {}
    for base in reversed(struct.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
        for entry in re.split(r"\n(?=    \S)", section[1]) if section else ():
            names, _, meaning = " ".join(entry.split()).partition(": ")
            unit = UNIT.search(meaning)
            for name in names.split(", "):
                said[name] = (UNIT.sub("", meaning), unit[1] if unit else "")
    return said


def for_json(text: str) -> str:
    """Python's words as JSON has them."""
    for word, json_word in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{word}\b", json_word, text)
    return text


def type_text(hint: Any) -> str:
    """A field's type in JSON's words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return type_text(arguments[0]) + limits_text(arguments[1])
    if origin in (typing.Union, types.UnionType):
        parts = [type_text(argument) for argument in arguments if argument is not type(None)]
        parts = [part for part in parts if part != "integer" or "number" not in parts]
        return " or ".join(parts + (["null"] if type(None) in arguments else []))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list, frozenset):
        return f"list of {type_text(arguments[0])}"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return f"object of {type_text(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
        Any: "anything",
        msgspec.Raw: "anything",
    }[hint]


def limits_text(meta: msgspec.Meta) -> str:
    """What is demanded of a value besides its type."""
    if meta.max_length is not None:
        return f", at most {meta.max_length}"
    return f" ≥ {meta.ge}" if meta.ge is not None else ""


def summary(struct: Struct) -> str:
    """The first sentences of a type's docstring."""
    return for_json(" ".join(inspect.cleandoc(struct.__doc__ or "").split("\n\n", maxsplit=1)[0].split()))


def section(struct: Struct, title: str) -> str:
    """One type with the defaults of its keys: what it is, and its keys."""
    said = meanings(struct)
    rows: list[tuple[str, ...]] = []
    for field in msgspec.structs.fields(struct):
        if not said.get(field.name, ("",))[0]:
            raise LookupError(f"{struct.__module__}.{struct.__name__}: {field.name} has no meaning under Attributes")
        meaning, unit = said[field.name]
        rows.append((f"`{field.encode_name}`", type_text(field.type), unit, default_text(field), for_json(meaning)))
    return f"### {title}\n{summary(struct)}\n\n{table(('key', 'type', 'unit', 'default', 'meaning'), rows)}"


def default_text(field: msgspec.structs.FieldInfo) -> str:
    """What a key that is left out means."""
    if field.required:
        return "required"
    default = field.default_factory() if callable(field.default_factory) else field.default
    if isinstance(default, msgspec.Raw):
        default = msgspec.json.decode(default)
    return f"`{default if isinstance(default, str) and default else msgspec.json.encode(default).decode()}`"
