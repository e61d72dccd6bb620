"""Scenario files: TOML read and checked, each mistake a sentence with its line, key and what to write.

Owns: shipped names, reading, what tables must agree on, the digest. Its rule: a scenario that was returned can be run: every name
in it is known and every file there. Not here: the tables (`scenario.py`), finding lines (`toml_lines.py`).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lab.scenarios.agreement import Disagreement, check
from lab.scenarios.scenario import Scenario
from lab.scenarios.toml_lines import Place, line_of, place_of

__all__ = ["LoadedScenario", "ScenarioInvalid", "load", "shipped"]

_FOLDER = Path(__file__).resolve().parent
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<place>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")


class ScenarioInvalid(Exception):
    """A scenario file cannot be used; the sentence says where and what to write instead."""


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario and where it came from.

    Attributes:
        scenario: Its values.
        document: The TOML as read.
        digest: SHA-256 of all its values, defaults included; comments and the order of keys do not count.
        folder: What its paths are relative to.
    """

    scenario: Scenario
    document: dict[str, Any]
    digest: str
    folder: Path


def shipped() -> tuple[str, ...]:
    """Names of scenarios that come with the lab."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load(name: str) -> LoadedScenario:
    """Read a shipped scenario by its name, or a file.

    Raises:
        ScenarioInvalid: There is none, or something in it is wrong.
    """
    path = _FOLDER / f"{name}.toml" if name in shipped() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(shipped())
        raise ScenarioInvalid(
            f"{name} cannot be read ({error}): write the path of a scenario file, or one of {names}"
        ) from error
    return parse(text, str(path), path.resolve().parent)


def parse(text: str, name: str, folder: Path) -> LoadedScenario:
    """Read a scenario from its text.

    Args:
        text: TOML.
        name: What errors call it.
        folder: What its paths are relative to.

    Raises:
        ScenarioInvalid: Something in it is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioInvalid(f"{name} is no TOML: {error}") from error
    try:
        scenario = msgspec.convert(document, Scenario)
        check(scenario, folder)
    except msgspec.ValidationError as error:
        raise ScenarioInvalid(_sentence(text, name, document, str(error))) from error
    except Disagreement as error:
        raise ScenarioInvalid(f"{_where(text, name, error.place)}: {error}") from error
    encoded = msgspec.json.encode(scenario, order="deterministic")
    return LoadedScenario(scenario, document, hashlib.sha256(encoded).hexdigest(), folder)


def _sentence(text: str, name: str, document: dict[str, Any], error: str) -> str:
    """What msgspec found wrong, with the line, and with what there could be."""
    found = _AT.match(error)
    assert found is not None
    place, what = place_of(found["place"] or "$"), found["what"]
    if unknown := _UNKNOWN.match(what):
        known = ", ".join(_keys(place, document)) or "none"
        return f"{_where(text, name, (*place, unknown['key']))}: there is no such key; those of this table are {known}"
    if missing := _MISSING.match(what):
        return f"{_where(text, name, place)}: `{missing['key']}` is missing: write {_example(place, missing['key'])}"
    return f"{_where(text, name, place)}: {what[:1].lower()}{what[1:]}{_choice(place, document)}"


def _where(text: str, name: str, place: Place) -> str:
    line = line_of(text, place)
    return f"{name}{f', line {line}' if line else ''}, {_shown(place)}" if place else name


def _shown(place: Place) -> str:
    """`machine[2].name`, counted from 1 as people do."""
    shown = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place)
    return shown.removeprefix(".")


def _table(place: Place, document: dict[str, Any]) -> Any:
    """The type that holds at a place: a Struct, or None."""
    kind: Any = msgspec.inspect.type_info(Scenario)
    value: Any = document
    for part in place:
        value = _child(value, part)
        kind = _child_type(kind, part, value)
    return _struct(kind, value)


def _child(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _child_type(kind: Any, part: str | int, value: Any) -> Any:
    kind = _struct(kind, value) or kind
    if isinstance(kind, msgspec.inspect.StructType):
        return next((field.type for field in kind.fields if field.encode_name == part), None)
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return kind.item_type
    if isinstance(kind, msgspec.inspect.TupleType) and isinstance(part, int) and part < len(kind.item_types):
        return kind.item_types[part]
    return kind


def _struct(kind: Any, value: Any) -> Any:
    """The table among the types that may stand there: of several, that which the value names by its tag."""
    options = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    tables = [option for option in options if isinstance(option, msgspec.inspect.StructType)]
    if len(tables) < 2:
        return tables[0] if tables else None
    tag = _child(value, tables[0].tag_field or "")
    return next((option for option in tables if option.tag == tag), None)


def _keys(place: Place, document: dict[str, Any]) -> list[str]:
    table = _table(place, document)
    if table is None:
        return []
    tagged = [table.tag_field] if table.tag_field else []
    return [*tagged, *(field.encode_name for field in table.fields)]


def _example(place: Place, key: str) -> str:
    if key in {"machine", "model"}:
        return f"at least one [[{key}]] table"
    if key == "scenario":
        return 'a [scenario] table with a name, as name = "mine"'
    if key == "what":
        return f"one of {', '.join(_tags())}"
    examples = {
        "name": 'name = "device"',
        "ends": 'ends = ["device", "edge"]',
        "at_s": "at_s = 10.0",
        "node": 'node = "edge"',
        "weights": "weights = [1.0, 0.0]",
        "fraction": "fraction = 0.3",
        "delay_s": "delay_s = 0.02",
    }
    return examples.get(key, f"{key} = 5e6")


def _choice(place: Place, document: dict[str, Any]) -> str:
    """What may stand there instead, where it is one of a few."""
    if place and place[-1] == "what":
        return f"; write one of {', '.join(_tags())}"
    kind: Any = msgspec.inspect.type_info(Scenario)
    value: Any = document
    for part in place:
        value = _child(value, part)
        kind = _child_type(kind, part, value)
    if isinstance(kind, msgspec.inspect.LiteralType):
        return f"; write one of {', '.join(map(str, kind.values))}"
    return ""


def _tags() -> list[str]:
    change: Any = _child_type(msgspec.inspect.type_info(Scenario), "change", None)
    return [str(option.tag) for option in change.item_type.types]
