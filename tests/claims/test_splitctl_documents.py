"""docs/splitctl.md says what every command prints with `--json`, and how it fails."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator

import click
import msgspec
import pytest

from edgesplit_controller.cli.entry import splitctl
from edgesplit_controller.cli.failures import describe
from tests.claims.doc_tables import DOCS, PRINTED, document_types, errors
from tests.claims.struct_tables import meanings, structs_in, type_text, visit

PAGE = (DOCS / "splitctl.md").read_text()
SECTIONS = re.split(r"^## (?=splitctl )", PAGE, flags=re.MULTILINE)[1:]


def commands(group: click.Group = splitctl, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that prints something, by its words."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


def link(printed: object) -> str:
    """A document as the page refers to it."""
    (struct,) = structs_in(printed)
    name = f"[{struct.__name__}](#{struct.__name__.lower()})"
    return f"a list of {name}" if typing.get_origin(printed) is list else name


def keys_of(printed: object) -> set[str]:
    """All keys of a document and of its parts."""
    found: dict[type[msgspec.Struct], None] = {}
    for struct in structs_in(printed):
        visit(struct, found)
    return {field.encode_name for struct in found for field in msgspec.structs.fields(struct)}


def test_every_command_has_its_document() -> None:
    assert set(PRINTED) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_the_document_that_the_command_prints(name: str) -> None:
    (section,) = (section for section in SECTIONS if name in re.split(r",? splitctl ", " " + headed(section)))
    documents = section.split("\nJSON: ", maxsplit=1)[1]
    wanted = link(PRINTED[name])
    assert documents.startswith((wanted, "a list of " + wanted)), name


def headed(section: str) -> str:
    """The commands of a section's heading, without their arguments."""
    return re.sub(r" (NAME|NODE|FILE|PATTERN)(\.\.\.)?(?= |,|$)", "", section.splitlines()[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_s_module_speaks_of_that_document(name: str) -> None:
    callback = COMMANDS[name].callback
    assert callback is not None
    source = inspect.getsource(importlib.import_module(inspect.unwrap(callback).__module__))
    (struct,) = structs_in(PRINTED[name])
    made_by = {"TrafficDocument": "run_requests", "SolutionDocument": "solution_document"}
    assert made_by.get(struct.__name__, struct.__name__) in source


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_keys_of_the_document_and_no_others(name: str) -> None:
    said = " ".join((COMMANDS[name].epilog or "").split("With --json:")[1].split())
    (struct,) = structs_in(PRINTED[name])
    if "{" not in said:  # it refers to another command's
        return
    words = set(re.findall(r"[a-z0-9_]+", said))
    top = {field.encode_name for field in msgspec.structs.fields(struct)}
    assert top <= words, sorted(top - words)
    assert {word for word in words if "_" in word} <= keys_of(PRINTED[name]) | {"latency_model"}


@pytest.mark.parametrize("struct", document_types(), ids=lambda struct: struct.__name__)
def test_every_figure_has_a_unit(struct: type[msgspec.Struct]) -> None:
    said = meanings(struct)
    figures = [field.name for field in msgspec.structs.fields(struct) if type_text(field.type).startswith("number")]
    assert [name for name in figures if not said[name][1]] == []


def test_only_two_types_leave_keys_out() -> None:
    leaving = {struct.__name__ for struct in document_types() if struct.__struct_config__.omit_defaults}
    assert leaving == {"TimelineEntry", "PinRule"}


@pytest.mark.parametrize(
    "error",
    [
        click.UsageError("no"),
        KeyboardInterrupt(),
        OSError(2, "no such file", "x"),
        ModuleNotFoundError("no module", name="torch"),
        ZeroDivisionError(),
        *(error("no") for error in errors()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_failure_stands_on_the_page_with_its_exit_status(error: BaseException) -> None:
    failure = describe(error)
    assert re.search(rf"^\| `{failure.code}` \| {failure.exit_code} \|", PAGE, re.MULTILINE)
    assert re.search(rf"^\| {failure.exit_code} \|", PAGE, re.MULTILINE)
