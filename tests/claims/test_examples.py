"""Examples of README and docs run, as far as they do without three machines; settings that they show or name exist."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.errors import InvalidConfiguration
from edgesplit.wire.tensors import Array
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.serving.served_models import ModelDescription
from edgesplit_controller.configuration import ControllerConfiguration
from lab.scenarios.scenario_file import ScenarioInvalid, parse
from tests.claims.test_documents import DOCUMENTS, REPOSITORY, code_lines, every_document, text_of
from tests.dataplane.fakes import plane
from tests.openinference.fakes import served, spec

CONFIGURATIONS: tuple[type[msgspec.Struct], ...] = (AgentConfiguration, ControllerConfiguration)
NEEDED = {"EDGESPLIT_NAME": "device"}
IMAGE = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)


def blocks(document: Path, language: str) -> list[str]:
    """A document's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(document), re.DOTALL | re.MULTILINE)


def example(document: str, language: str, word: str) -> str:
    """The one block that has a word in it."""
    (found,) = [block for block in blocks(REPOSITORY / document, language) if word in block]
    return found


def run(text: str, **names: Any) -> dict[str, Any]:
    """Run an example with the names that its reader has by then; returns those it leaves."""
    exec(compile(text, "example", "exec"), names)
    return names


def imported(text: str) -> Iterator[tuple[str, str | None]]:
    """Modules and names that an example imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


@every_document
def test_python_is_python_and_imports_what_exists(document: Path) -> None:
    for block in blocks(document, "python"):
        for module, name in imported(block):
            if module != "torch":
                assert name is None or hasattr(importlib.import_module(module), name), name


async def test_the_example_of_the_client_library_runs() -> None:
    text = example("README.md", "python", "edgesplit.connect").replace('"yolo"', '"double"').replace("=0.5", "=30")
    async with plane("device") as device:
        left = await asyncio.to_thread(run, text.replace("127.0.0.1:7400", device.address), array=IMAGE)
    np.testing.assert_array_equal(left["outputs"]["images"], IMAGE * 2)
    np.testing.assert_array_equal(left["later"]["images"], IMAGE * 2)


async def test_the_example_of_tritonclient_runs() -> None:
    text = example("docs/http.md", "python", "tritonclient")
    image = spec("image", shape=(1, 3, 64, 64))
    async with served() as server:
        server.models.models["mobilenet"] = ModelDescription("mobilenet", True, "", (image,), (spec("logits"),))
        answer = server.models.infer

        async def infer(model: str, arrays: dict[str, Array], deadline_s: float | None) -> tuple[dict[str, Array], int]:
            outputs, epoch = await answer(model, arrays, deadline_s)
            return {"logits": outputs["image"]}, epoch

        server.models.infer = infer  # type: ignore[method-assign]
        left = await asyncio.to_thread(run, text.replace("127.0.0.1:7470", server.address))
    np.testing.assert_array_equal(left["logits"], left["image"] * 2)
    assert server.models.deadlines == [0.5]


def test_the_example_of_torch_export_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    run(example("docs/splitctl.md", "python", "torch.export.save"), module=torch.nn.Conv2d(3, 2, 3))
    assert (tmp_path / "yolo.pt2").stat().st_size > 0


@every_document
def test_json_is_json(document: Path) -> None:
    for block in blocks(document, "json"):
        json.loads(block)


def loads(text: str, folder: Path) -> bool:
    """Whether a daemon takes this as its configuration, or the lab as a scenario."""
    with contextlib.suppress(ScenarioInvalid):
        parse(text, "shown.toml", folder)
        return True
    file = folder / "daemon.toml"
    file.write_text(text)
    for kind in CONFIGURATIONS:
        try:
            load_configuration(kind, file, NEEDED)
        except InvalidConfiguration:
            continue
        return True
    return False


@every_document
def test_settings_shown_are_loaded_by_what_they_are_for(document: Path, tmp_path: Path) -> None:
    for block in blocks(document, "toml"):
        assert loads(block, tmp_path), block


def keys(kind: type[msgspec.Struct]) -> dict[str, set[str]]:
    """Keys of each section of a configuration."""
    return {
        section.encode_name: {field.encode_name for field in msgspec.structs.fields(section.type)}
        for section in msgspec.structs.fields(kind)
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)
    }


KEYS = [keys(kind) for kind in CONFIGURATIONS]
SETTING = re.compile(r"\[([a-z]+)\] ([a-z_]+)(?: = (.+))?")


@every_document
def test_settings_named_exist(document: Path, tmp_path: Path) -> None:
    for line in code_lines(document):
        if (named := SETTING.fullmatch(line)) is not None:
            section, key, value = named.groups()
            assert any(key in known.get(section, ()) for known in KEYS), line
            assert value is None or loads(f"[{section}]\n{key} = {value}\n", tmp_path), line


def test_there_are_examples_of_each_kind() -> None:
    for language in ("python", "toml", "json"):
        assert any(blocks(document, language) for document in DOCUMENTS)


@pytest.mark.parametrize(
    "text", ["[http]\ncoffee = 1\n", '[planning]\nfallbacks = "coffee"\n', "[coffee]\nhot = true\n"]
)
def test_a_setting_that_no_daemon_has_is_noticed(text: str, tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"```toml\n{text}```\n")
    with pytest.raises(AssertionError):
        test_settings_shown_are_loaded_by_what_they_are_for(document, tmp_path)
    document.write_text(f"`{' '.join(text.splitlines())}`")
    with pytest.raises(AssertionError):
        test_settings_named_exist(document, tmp_path)


def test_an_import_of_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("```python\nfrom edgesplit import coffee\n```\n")
    with pytest.raises(AssertionError):
        test_python_is_python_and_imports_what_exists(document)
