"""What each extra of the package installs, by its own metadata: one build of onnxruntime, whatever is combined."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def installed(*extras: str) -> set[str]:
    """Names of the packages that extras ask for, own extras among them followed."""
    names: set[str] = set()
    waiting, seen = list(extras), set[str]()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for text in EXTRAS[extra]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                waiting += requirement.extras
            else:
                names.add(requirement.name)
    return names


def builds(*extras: str) -> set[str]:
    """Builds of onnxruntime that extras ask for."""
    return {name for name in installed(*extras) if re.match(r"onnxruntime(-|$)", name)}


@pytest.mark.parametrize(
    ("extras", "build"),
    [
        (("agent",), "onnxruntime"),
        (("controller",), "onnxruntime"),
        (("agent", "controller"), "onnxruntime"),
        (("demo",), "onnxruntime"),
        (("dev",), "onnxruntime"),
        (("agent-gpu",), "onnxruntime-gpu"),
        (("controller-gpu",), "onnxruntime-gpu"),
        (("agent-gpu", "controller-gpu"), "onnxruntime-gpu"),
    ],
)
def test_extras_that_go_together_bring_one_build_of_onnxruntime(extras: tuple[str, ...], build: str) -> None:
    assert builds(*extras) == {build}


def test_a_gpu_takes_nothing_else_from_an_agent_or_controller() -> None:
    for extra in ("agent", "controller"):
        plain, graphics = installed(extra), installed(f"{extra}-gpu")
        assert plain - {"onnxruntime"} == graphics - {"onnxruntime-gpu"}
