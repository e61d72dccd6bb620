"""Tables of docs/ that are made from the code: `python -m tests.claims.doc_tables` writes them anew.

Owns: the parts of pages between `<!-- made: WHAT -->` and `<!-- end -->`. Its rule: what a table says stands in the code, in
types, docstrings or the schema, and nowhere else; a field without a meaning is an error. Not here: the pages' own words.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgesplit.control.event_kinds import HISTORIES, level_of
from edgesplit.control.event_messages import Event
from edgesplit.errors import EdgesplitError
from edgesplit.operations.fleet_operations import LinkRow, NodeRemovedDocument, NodeRow
from edgesplit.operations.goal_operations import ForbiddenRow, PinsDocument, WeightsRow
from edgesplit.operations.inspection.dashboard_operation import DashboardDocument
from edgesplit.operations.inspection.doctor_operation import DiagnosisDocument
from edgesplit.operations.inspection.graph_operation import GraphDocument
from edgesplit.operations.inspection.status_operations import ActivityDocument, StatusDocument
from edgesplit.operations.inspection.trace_operation import TraceDocument
from edgesplit.operations.model_operations import ModelAddedDocument, ModelDocument, ProfiledRow
from edgesplit.operations.plan_operations import DeployDocument, PlanDocument
from edgesplit.operations.study_operations import ExplainDocument, FrontierDocument, WhatIfDocument
from edgesplit.operations.trust_operations import CertificateRow, ClientTokenRow, RevokedDocument
from edgesplit.operations.upkeep_operations import DrainDocument, PausesDocument, RestoreDocument
from edgesplit.planning.problem_file import problem_schema
from edgesplit.wire.headers import Header, TensorHead
from edgesplit_controller.cli.commands.trust.authority import BrokerFilesDocument, FoundedDocument
from edgesplit_controller.cli.commands.trust.contexts import ContextRow, LoginDocument
from edgesplit_controller.cli.commands.trust.joining import JoinLine
from edgesplit_controller.cli.commands.trust.tokens import NewTokenDocument
from edgesplit_controller.cli.commands.upkeep.backups import BackupDocument
from edgesplit_controller.cli.commands.upkeep.completion import CompletionScript
from edgesplit_controller.cli.load_run import TrafficDocument
from edgesplit_controller.cli.solution_document import SolutionDocument
from edgesplit_controller.event_history import KEPT
from tests.claims.protocol_tables import message_tables, removal_table, rights, topic_table
from tests.claims.struct_tables import (
    UNIT,
    Struct,
    for_json,
    meanings,
    section,
    structs_in,
    summary,
    table,
    type_text,
    visit,
)

__all__ = ["DOCS", "MADE", "PRINTED", "document_types", "errors", "main", "renewed"]

DOCS = Path(__file__).parents[2] / "docs"
MADE = re.compile(r"<!-- made: (?P<what>[^>]+) -->\n.*?<!-- end -->", re.DOTALL)

Schema = Mapping[str, Any]

PRINTED: Mapping[str, Any] = {
    "nodes": list[NodeRow],
    "node remove": NodeRemovedDocument,
    "node add": list[JoinLine],
    "node rotate": list[JoinLine],
    "node revoke": RevokedDocument,
    "links": list[LinkRow],
    "model add": ModelAddedDocument,
    "model list": list[ModelDocument],
    "model show": ModelDocument,
    "model graph": GraphDocument,
    "model profile": list[ProfiledRow],
    "model remove": ModelDocument,
    "deploy": DeployDocument,
    "undeploy": DeployDocument,
    "set-weights": list[WeightsRow],
    "pin": PinsDocument,
    "unpin": PinsDocument,
    "forbid": list[ForbiddenRow],
    "allow": list[ForbiddenRow],
    "drain": DrainDocument,
    "undrain": DrainDocument,
    "pause": PausesDocument,
    "resume": PausesDocument,
    "plan": PlanDocument,
    "explain": ExplainDocument,
    "what-if": WhatIfDocument,
    "frontier": FrontierDocument,
    "infer": TrafficDocument,
    "solve": SolutionDocument,
    "events": list[Event],
    "status": StatusDocument,
    "top": ActivityDocument,
    "dashboard": DashboardDocument,
    "trace": TraceDocument,
    "doctor": DiagnosisDocument,
    "backup": BackupDocument,
    "restore": RestoreDocument,
    "ca init": FoundedDocument,
    "broker config": BrokerFilesDocument,
    "operator add": list[JoinLine],
    "operator rotate": list[JoinLine],
    "operator revoke": RevokedDocument,
    "login": LoginDocument,
    "context list": list[ContextRow],
    "context use": ContextRow,
    "token add": NewTokenDocument,
    "token list": list[ClientTokenRow],
    "token remove": ClientTokenRow,
    "certs": list[CertificateRow],
    "completion": CompletionScript,
}
"""What each command of splitctl prints with `--json`."""


def renewed(page: str) -> str:
    """A page with all its tables made anew."""

    def made(found: re.Match[str]) -> str:
        kind, *words = found["what"].split()
        return f"<!-- made: {found['what']} -->\n{MAKERS[kind](*words)}\n<!-- end -->"

    return MADE.sub(made, page)


# --- documents of splitctl -------------------------------------------------------------------------------------------


def document_types() -> list[Struct]:
    """Every type that a command's document consists of, in the order of the commands; each once."""
    found: dict[Struct, None] = {}
    for printed in PRINTED.values():
        for struct in structs_in(printed):
            visit(struct, found)
    return list(found)


def document_section(struct: Struct) -> str:
    """One type: what it is, and its keys."""
    said = meanings(struct)
    rows: list[tuple[str, ...]] = []
    for field in msgspec.structs.fields(struct):
        if field.name not in said:
            raise LookupError(f"{struct.__module__}.{struct.__name__}: {field.name} has no meaning under Attributes")
        meaning, unit = said[field.name]
        rows.append((f"`{field.encode_name}`", type_text(field.type), unit, for_json(meaning)))
    return f"### {struct.__name__}\n{summary(struct)}\n\n{table(('key', 'type', 'unit', 'meaning'), rows)}"


def documents() -> str:
    """All types of all documents."""
    return "\n\n".join(document_section(struct) for struct in document_types())


# --- headers of frames -----------------------------------------------------------------------------------------------


def header_title(struct: Struct) -> str:
    """A kind of frame by its tag, or what is described in several by its name."""
    tag = struct.__struct_config__.tag
    return f"`{tag}`" if tag else struct.__name__


def header_tables() -> str:
    """All kinds of frames, in the order of the union."""
    return "\n\n".join(section(struct, header_title(struct)) for struct in (*typing.get_args(Header), TensorHead))


# --- errors and events -----------------------------------------------------------------------------------------------


def errors(root: type[EdgesplitError] = EdgesplitError) -> list[type[EdgesplitError]]:
    """The tree of errors in `edgesplit.errors`, root first."""
    own = (child for child in root.__subclasses__() if child.__module__ == root.__module__)
    return [root, *(leaf for child in own for leaf in errors(child))]


def error_table() -> str:
    """Every error there is."""
    rows: list[tuple[str, ...]] = []
    for error in errors():
        meaning = (error.__doc__ or "").split("\n", maxsplit=1)[0].removesuffix(".")
        rows.append((f"`{error.code}`", str(error.exit_code), "yes" if error.passing else "", meaning))
    return table(("code", "exit status", "may pass by itself", "meaning"), rows)


def event_table() -> str:
    """Kinds of events by history, with those that are no information marked."""

    def told(kind: str) -> str:
        level = level_of(kind)
        return f"`{kind}`" if level == "info" else f"`{kind}` ({level})"

    rows = [
        (f"`{history}`", ", ".join(map(told, sorted(kinds))) or "all others", str(KEPT[history]))
        for history, kinds in HISTORIES.items()
    ]
    return table(("history", "kinds", "events kept"), rows)


# --- the problem file ------------------------------------------------------------------------------------------------


def problem_table(name: str) -> str:
    """One object of the problem file, from its schema."""
    schema = json.loads(problem_schema())
    entry = schema["$defs"][name]
    rows: list[tuple[str, ...]] = []
    for key, found in entry["properties"].items():
        resolved = {**schema["$defs"].get(reference(found), {}), **found}
        meaning = str(resolved["description"])
        unit = UNIT.search(meaning)
        default = "required" if key in entry.get("required", ()) else default_text(resolved["default"])
        rows.append(
            (
                f"`{key}`",
                schema_type(schema, found),
                unit[1] if unit else "",
                default,
                bounds(schema, found),
                UNIT.sub("", meaning),
            )
        )
    return table(("key", "type", "unit", "default", "bounds", "meaning"), rows)


def default_text(value: object) -> str:
    """A default as JSON writes it; an empty object stands for all its defaults."""
    return "its defaults" if value == {} else f"`{msgspec.json.encode(value).decode()}`".replace('"', "")


def reference(found: Schema) -> str:
    """Which definition a schema refers to, or empty."""
    return str(found.get("$ref", "")).removeprefix("#/$defs/")


def alternatives(schema: Schema, found: Schema) -> Iterator[Schema]:
    """What a value may be, references resolved one step."""
    for choice in found.get("anyOf", (found,)):
        definition = schema["$defs"].get(reference(choice), {})
        yield choice if definition.get("type") == "object" else {**definition, **choice}


def schema_type(schema: Schema, found: Schema) -> str:
    """A key's type in words."""
    return " or ".join(one_type(schema, choice) for choice in alternatives(schema, found))


def one_type(schema: Schema, choice: Schema) -> str:
    name = reference(choice)
    if name[:1].isupper():
        return f"[{name}](#{name.lower()})"
    if "const" in choice:
        return f"`{choice['const']}`"
    if "enum" in choice:
        return " or ".join("null" if value is None else f"`{value}`" for value in choice["enum"])
    if choice["type"] == "array":
        return f"list of {schema_type(schema, choice['items'])}"
    if choice["type"] == "object":
        return f"object of {schema_type(schema, choice['additionalProperties'])}"
    return {"string": "text", "number": "number", "boolean": "true or false", "null": "null"}[choice["type"]]


def bounds(schema: Schema, found: Schema) -> str:
    """A key's bounds; every number is finite besides."""
    said: list[str] = []
    for choice in alternatives(schema, found):
        inner = choice.get("additionalProperties", choice)
        inner = {**schema["$defs"].get(reference(inner), {}), **inner}
        if "exclusiveMinimum" in inner:
            said.append("> 0")
        elif inner.get("minimum") == 0:
            said.append("≥ 0")
        if choice.get("minLength") or choice.get("minItems") or choice.get("minProperties"):
            said.append("not empty")
        elif inner.get("minItems"):
            said.append("each not empty")
    return ", ".join(said)


MAKERS: Mapping[str, Callable[..., str]] = {
    "documents": documents,
    "errors": error_table,
    "events": event_table,
    "headers": header_tables,
    "messages": message_tables,
    "problem": problem_table,
    "removal": removal_table,
    "rights": rights,
    "topics": topic_table,
}


def main() -> None:
    """Write every page of docs/ anew that has tables made here."""
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text()
        if (fresh := renewed(page)) != page:
            path.write_text(fresh)
            print(path.relative_to(DOCS.parent))  # noqa: T201


if __name__ == "__main__":
    main()
