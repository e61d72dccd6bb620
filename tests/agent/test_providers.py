"""Execution providers: names, what is asked for, and what a session really gets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from edgesplit.errors import PreparationFailed
from edgesplit_agent.compute.providers import candidates, missing_text, options_of
from edgesplit_agent.compute.runtime import RuntimeOptions, on_processor_alone, usable_providers
from edgesplit_agent.configuration import RuntimeSection, full_name

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
OPENVINO, TENSORRT = "OpenVINOExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("text", "name"),
    [("cpu", CPU), ("CUDA", CUDA), ("tensorrt", TENSORRT), ("openvino", OPENVINO), ("Auto", "auto"), (CUDA, CUDA)],
)
def test_short_names_stand_for_full_ones(text: str, name: str) -> None:
    assert full_name(text) == name
    assert RuntimeSection(provider=text).execution_provider == name


def test_a_name_that_cannot_be_one_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="provider 'gpu' is not known: use auto, cpu, cuda, openvino, tensorrt"):
        RuntimeSection(provider="gpu")


@pytest.mark.parametrize(
    ("wanted", "available", "asked"),
    [
        ("auto", [TENSORRT, CUDA, CPU], (CUDA, CPU)),
        ("auto", [OPENVINO, CPU], (OPENVINO, CPU)),
        ("auto", ["AzureExecutionProvider", CPU], (CPU,)),
        (TENSORRT, [TENSORRT, CUDA, CPU], (TENSORRT, CUDA, CPU)),
        (CPU, [OPENVINO, CPU], (CPU,)),
    ],
)
def test_what_a_session_is_asked_for(wanted: str, available: list[str], asked: tuple[str, ...]) -> None:
    assert candidates(wanted, available) == asked


def test_a_provider_this_runtime_was_not_built_with_is_named_beside_those_it_has() -> None:
    with pytest.raises(PreparationFailed, match=r"'CUDAExecutionProvider' is not there: .* CPUExecutionProvider"):
        candidates(CUDA, [CPU])


def test_openvino_keeps_to_the_configured_threads() -> None:
    assert options_of(OPENVINO, 2, None) == {"num_of_threads": "2"}
    assert options_of(CPU, 2, Path("/cache")) == {}
    assert options_of(CUDA, 1, None) == {"use_tf32": "0"}
    assert options_of(TENSORRT, 1, Path("/cache"))["trt_engine_cache_path"] == "/cache/tensorrt"


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The real runtime, claiming what `onnxruntime-gpu` claims on a machine without a graphics processor."""
    asked: list[list[str]] = []

    real = onnxruntime.InferenceSession

    def opened(model: Any, settings: Any, providers: Any) -> Any:
        asked.append([name for name, _ in providers])
        return real(model, settings, providers=[CPU])

    usable_providers.cache_clear()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    yield asked
    usable_providers.cache_clear()


@pytest.mark.parametrize("wanted", ["auto", CUDA, TENSORRT])
def test_a_provider_that_is_listed_but_cannot_be_loaded_is_said_once_and_not_believed(
    wanted: str, listing: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert usable_providers(wanted, 1) == (CPU,)
    assert usable_providers(wanted, 1) == (CPU,)
    assert len(listing) == 1
    assert on_processor_alone(RuntimeOptions(provider=wanted))
    said = capsys.readouterr()
    assert (said.out + said.err).count("cannot load it here") == 1


def test_nothing_is_said_where_everything_was_got() -> None:
    assert missing_text((OPENVINO, CPU), (OPENVINO, CPU)) == ""
    assert missing_text((TENSORRT, CUDA, CPU), (CPU,)).startswith(f"onnxruntime lists {TENSORRT} and {CUDA} but")


@pytest.mark.parametrize(("built_for", "wanted", "times"), [("12.8", "auto", 1), ("12.8", CPU, 0), ("", "auto", 0)])
def test_libraries_of_cuda_that_came_as_packages_are_loaded_where_a_runtime_may_use_them(
    built_for: str,
    wanted: str,
    times: int,
    listing: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded: list[str] = []

    def preload() -> None:
        loaded.append("all")
        sys.stdout.write("Failed to load libcublas.so.12\n")

    monkeypatch.setattr(onnxruntime, "cuda_version", built_for, raising=False)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    usable_providers(wanted, 1)
    usable_providers(wanted, 1)
    assert len(loaded) == times
    # What it prints is a line of the log, not one of a program's output.
    assert "\nFailed to load" not in "\n" + capsys.readouterr().out
