"""What README and docs name is there: commands with their options, make targets, benchmarks, files, headings, settings."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest

import edgesplit_agent.main
import edgesplit_controller.main
from edgesplit_controller.cli.entry import splitctl

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [
    REPOSITORY / name
    for name in (
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "systemd/README.md",
        "docker/README.md",
    )
] + sorted((REPOSITORY / "docs").glob("*.md"))
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))

DAEMONS: dict[str, click.Command] = {
    "edgesplit-agent": edgesplit_agent.main.main,
    "edgesplit-controller": edgesplit_controller.main.main,
}
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


def text_of(document: Path) -> str:
    """What a document says of this checkout: what a changelog tells of releases may be gone since."""
    return re.split(r"^## \d", document.read_text(), maxsplit=1, flags=re.MULTILINE)[0]


def code_lines(document: Path) -> Iterator[str]:
    """Lines of code blocks, with continuations joined, and what stands between backticks."""
    text = text_of(document)
    for block in FENCE.findall(text):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()[1:-1]
    yield from (" ".join(found.split()) for found in INLINE.findall(FENCE.sub("", text)))


def words(line: str) -> list[str]:
    """A command line's words, without its comment, and without the brackets of what may be left out."""
    try:
        return shlex.split(re.sub(r"[\[\]]", " ", line.split(" | ", maxsplit=1)[0]), comments=True)
    except ValueError:  # prose with an apostrophe
        return []


def options_of(command: click.Command) -> set[str]:
    # With its own settings: click remembers the help option of the first context it is asked in.
    context = click.Context(command, **command.context_settings)
    return {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}


def options_below(command: click.Command) -> set[str]:
    """Its own, and those of its commands."""
    commands = command.commands.values() if isinstance(command, click.Group) else ()
    return options_of(command).union(*map(options_below, commands))


def resolve(line: list[str]) -> tuple[click.Command, list[str]]:
    """The command of splitctl that a line names, and the words behind it."""
    command: click.Command = splitctl
    while isinstance(command, click.Group) and line and re.fullmatch(r"[a-z][a-z-]+", line[0]):
        found = command.get_command(click.Context(command), line[0])
        assert found is not None, f"splitctl has no command {line[0]}"
        command, line = found, line[1:]
    return command, line


def splitctl_lines(document: Path) -> Iterator[list[str]]:
    for code in code_lines(document):
        line = re.sub(r"--entrypoint splitctl \S+", "splitctl", code)
        if (found := re.search(r"(?:^|[$ ])splitctl ((?:model |node )?[a-z-]+.*)", line)) and "ln -sf" not in line:
            for part in found[1].split(", splitctl "):
                yield words(part)


@every_document
def test_commands_of_splitctl_exist_with_their_options(document: Path) -> None:
    for line in splitctl_lines(document):
        command, rest = resolve(line)
        known = options_of(command) | options_of(splitctl) | {"--help", "-h"}
        named = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert named <= known, f"splitctl {' '.join(line)}"


FILE = re.compile(r"(?:/tmp/)?[\w-]+\.(?:npz|onnx|pt2|json|png)")


@every_document
def test_whole_command_lines_of_splitctl_parse(document: Path) -> None:
    """Those that could be pasted: in a block of code, and no placeholder; values are read, too."""
    blocks = "\n".join(FENCE.findall(text_of(document)))
    for found in re.findall(r"^(?:\$ )?splitctl (.*)$", re.sub(r"\\\n\s*", "", blocks), re.MULTILINE):
        command, rest = resolve(words(found))
        with TemporaryDirectory() as folder, contextlib.chdir(folder):
            for place, word in enumerate(rest):
                if FILE.fullmatch(word):
                    rest[place] = Path(word).name
                    Path(rest[place]).touch()
                elif "/" in word and (REPOSITORY / word).exists():
                    rest[place] = str(REPOSITORY / word)
            try:
                command.make_context(command.name, rest, parent=click.Context(splitctl))
            except click.UsageError as error:
                raise AssertionError(f"{found}: {error.format_message()}") from error


@every_document
def test_daemons_take_the_options_named(document: Path) -> None:
    for line in code_lines(document):
        if (named := re.match(r"(?:\S*/)?(edgesplit-agent|edgesplit-controller) (-.*)", line)) is not None:
            known = options_of(DAEMONS[named[1]]) | {"--help", "-h"}
            assert {word.split("=")[0] for word in words(named[2]) if word.startswith("-")} <= known, line


@every_document
def test_commands_described_under_a_heading_have_the_options_of_its_table(document: Path) -> None:
    for section in re.split(r"^## (?=splitctl )", text_of(document), flags=re.MULTILINE)[1:]:
        heading = re.sub(r",? splitctl ", "\n", section.splitlines()[0].removeprefix("splitctl ")).splitlines()[0]
        command, _ = resolve(words(heading.rstrip(",")))
        rows = re.findall(r"^\| (`--.*?) \|", section.split("\n## ")[0], re.MULTILINE)
        named = {option for row in rows for option in re.findall(r"`(--[a-z-]+)", row)}
        assert named <= options_of(command), heading


@every_document
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {found for line in code_lines(document) for found in re.findall(r"^make ([a-z][a-z-]*)", line)}
    assert named <= targets


@every_document
def test_extras_that_are_installed_exist(document: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for line in code_lines(document):
        for named in re.findall(r"(?<![\w-])(?:edgesplit|\.)\[([a-z,-]+)\]", line):
            assert set(named.split(",")) <= set(project["optional-dependencies"]), line


def module_file(name: str) -> Path | None:
    """Where `python -m NAME` or an import of it begins."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    runs = Path(spec.origin).with_name("__main__.py") if spec.submodule_search_locations else Path(spec.origin)
    return runs if runs.exists() else None


def entry(module: str) -> object:
    """A program's `main`; None where it has none, or needs PyTorch, which is not here."""
    try:
        return getattr(importlib.import_module(module), "main", None)
    except ModuleNotFoundError as error:
        assert error.name == "torch"
        return None


@every_document
def test_programs_are_there_and_take_the_options_named(document: Path) -> None:
    for line in code_lines(document):
        for name, behind in re.findall(r"python3? -m ((?!pip|venv)[a-z_.]+)([^|#]*)", line):
            file = module_file(name)
            assert file is not None, line
            named = [word.split("=")[0] for word in words(behind) if word.startswith("--")]
            main = entry(f"{name}.__main__" if file.name == "__main__.py" else name)
            if isinstance(main, click.Group):
                main = main.commands[words(behind)[0]]
            if isinstance(main, click.Command):
                assert set(named) <= options_below(main), line
            else:
                assert all(option in file.read_text() for option in named), line
        for name in re.findall(r"^(bench\.[a-z_]+)$", line):
            assert module_file(name) is not None, line


@cache
def tracked() -> list[str]:
    """The repository's files and folders."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = listed.stdout.split()
    return files + sorted({str(parent) for file in files for parent in Path(file).parents} - {"."})


@every_document
def test_files_that_are_named_exist(document: Path) -> None:
    """A path may leave out the folders before it, as ARCHITECTURE's do."""
    for line in code_lines(document):
        if re.fullmatch(r"[A-Za-z_.-]+(/[A-Za-z_.-]+)+\.(py|md|sh|toml|service|yaml|onnx|conf)|[a-z_]+\.py", line):
            if line.startswith(("~", "/")):
                continue
            assert any(path == line or path.endswith(f"/{line}") for path in tracked()), line


def anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(document))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("`splitctl teleport yolo`", test_commands_of_splitctl_exist_with_their_options),
        ("`splitctl plan yolo --odd`", test_commands_of_splitctl_exist_with_their_options),
        ("```\nsplitctl deploy yolo\n```", test_whole_command_lines_of_splitctl_parse),
        ("```\n$ splitctl plan yolo more\n```", test_whole_command_lines_of_splitctl_parse),
        ("```\n$ splitctl events --level coffee\n```", test_whole_command_lines_of_splitctl_parse),
        ("```\n$ splitctl infer yolo --input a.npz --count few\n```", test_whole_command_lines_of_splitctl_parse),
        ("`edgesplit-agent --coffee`", test_daemons_take_the_options_named),
        (
            "## splitctl plan NAME\n\n| `--odd X` | no |\n",
            test_commands_described_under_a_heading_have_the_options_of_its_table,
        ),
        ("`make coffee`", test_make_targets_exist),
        ("`pip install 'edgesplit[agent,coffee]'`", test_extras_that_are_installed_exist),
        ("`python -m bench.coffee`", test_programs_are_there_and_take_the_options_named),
        ("`python -m bench.chaos --coffee 3`", test_programs_are_there_and_take_the_options_named),
        ("`bench.coffee`", test_programs_are_there_and_take_the_options_named),
        ("`planner/coffee.py`", test_files_that_are_named_exist),
        ("[there](coffee.md)", test_links_lead_somewhere),
        ("# Tea\n[there](#coffee)", test_links_lead_somewhere),
    ],
)
def test_what_is_not_there_is_noticed(text: str, check: Callable[[Path], None], tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(text)
    with pytest.raises(AssertionError):
        check(document)
