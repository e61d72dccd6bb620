"""Loading a daemon's configuration: defaults, then a TOML file, then environment variables.

Owns: the merge, the check against a frozen msgspec Struct, and the record of where every value came from. Its rule:
it is called once, in `main`; an error names the key and the file. Not here: the keys themselves, which each
daemon's own `configuration` declares.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgesplit.errors import InvalidConfiguration

__all__ = ["Loaded", "load_configuration", "render_configuration", "without_password"]

T = TypeVar("T", bound=msgspec.Struct)
PREFIX = "EDGESPLIT_"


class Loaded(msgspec.Struct, frozen=True):
    """Effective values and their origin.

    Attributes:
        origins: Dotted key to "default", "file PATH" or "environment VARIABLE".
    """

    values: Any
    origins: dict[str, str]


def load_configuration(kind: type[T], path: Path | None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read and check a configuration.

    `[data] listen` is overridden by `EDGESPLIT_DATA_LISTEN`; the variable's text is read as TOML where it is a valid
    TOML value (`4`, `true`, `["a"]`), else as a string.

    Args:
        kind: Struct of Structs that declares sections and keys with defaults.
        path: The TOML file, or None for defaults and environment only.
        environment: Defaults to the process's.

    Raises:
        InvalidConfiguration: The file is missing or no TOML, or a key is unknown or of the wrong type.
    """
    raw: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        raw = _read(path)
        origins = dict.fromkeys(_flatten(raw), f"file {path}")
    for name, text in sorted((os.environ if environment is None else environment).items()):
        keys = _environment_keys(kind, name)
        if keys is None:
            continue
        section = raw
        for part in keys[:-1]:
            section = section.setdefault(part, {})
        section[keys[-1]] = _toml_value(text)
        origins[".".join(keys)] = f"environment {name}"
    try:
        values = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        where = f" in {path}" if path is not None else ""
        raise InvalidConfiguration(f"configuration{where} is wrong: {_readable(str(error))}") from error
    effective = _flatten(msgspec.to_builtins(values))
    return Loaded(values, {key: origins.get(key, _inherited_origin(origins, key)) for key in effective})


def render_configuration(loaded: Loaded) -> str:
    """Effective values, one `section.key = value  # origin` a line, for `--print-config`; secrets are masked."""
    lines: list[str] = []
    for key, value in _flatten(msgspec.to_builtins(loaded.values)).items():
        shown = "********" if "password" in key and value else value
        if isinstance(shown, str):
            shown = without_password(shown)
        lines.append(f"{key} = {msgspec.json.encode(shown).decode()}  # {loaded.origins[key]}")
    return "\n".join(lines)


def without_password(url: str) -> str:
    """A URL with the password of its user, if any, masked."""
    return re.sub(r"(://[^:/@]*:)[^/]*@", r"\1********@", url)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfiguration(f"configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"configuration file {path} is not valid TOML: {error}") from error


def _environment_keys(kind: type[msgspec.Struct], name: str) -> tuple[str, ...] | None:
    """`EDGESPLIT_DATA_LISTEN` to ("data", "listen"), or None where no such key is declared."""
    if not name.startswith(PREFIX):
        return None
    wanted = name.removeprefix(PREFIX).lower()
    for section in msgspec.structs.fields(kind):
        is_section = isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)
        if section.encode_name == wanted and not is_section:
            return (section.encode_name,)
        if is_section:
            for key in msgspec.structs.fields(section.type):
                if f"{section.encode_name}_{key.encode_name}" == wanted:
                    return (section.encode_name, key.encode_name)
    return None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _inherited_origin(origins: Mapping[str, str], key: str) -> str:
    parents = (
        origin for known, origin in origins.items() if key.startswith(f"{known}.") or known.startswith(f"{key}.")
    )
    return next(parents, "default")


def _readable(message: str) -> str:
    """Msgspec says "... - at `$.data.listen`"; people look for `data.listen`."""
    return message.replace("`$.", "`").replace("$.", "")
