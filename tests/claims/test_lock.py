"""The lock files: every release by its hashes and from nowhere in particular, and each within pyproject.toml's ranges."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "requirements"
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
SETS = {
    "demo": ("demo",),
    "test": ("demo", "test"),
    "dev": ("demo", "test", "dev"),
    "torch": ("demo", "test", "torch"),
    "fuzz": ("demo", "test", "dev", "fuzz"),
}
NOT_LOCKED = {"torch"}
"""Which builds there are depends on the machine (tests/torch_environment.sh)."""

RELEASE = re.compile(
    r"([a-z0-9][a-z0-9._-]*)==([^\s;]+)(?: ; [a-z_]+ [!<>=]+ '[\w.]+')?(?: \\\n    --hash=sha256:[0-9a-f]{64})+"
)


def locked(name: str) -> dict[str, Version]:
    """The releases of one file; nothing else may stand in it but comments."""
    text = (FOLDER / f"{name}.txt").read_text()
    found: dict[str, Version] = {canonicalize_name(one[1]): Version(one[2]) for one in RELEASE.finditer(text)}
    rest = [line for line in RELEASE.sub("", text).splitlines() if line and not line.startswith("#")]
    assert rest == []
    return found


def asked(*extras: str) -> list[Requirement]:
    """What the package and extras ask for, own extras among them followed."""
    found = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
    for extra in extras:
        for text in EXTRAS[extra]:
            requirement = Requirement(text)
            if requirement.name == "edgesplit":
                found += asked(*requirement.extras)
            else:
                found.append(requirement)
    return found


@pytest.mark.parametrize("extra", SETS)
def test_an_extra_that_make_installs_is_locked_within_its_ranges(extra: str) -> None:
    releases = {package: version for name in SETS[extra] for package, version in locked(name).items()}
    build = [
        Requirement(text) for text in PYPROJECT["dependency-groups"]["build"] + PYPROJECT["build-system"]["requires"]
    ]
    for requirement in asked(extra) + build:
        package = canonicalize_name(requirement.name)
        if package not in NOT_LOCKED:
            release = releases.get(package)
            assert release is not None and release in requirement.specifier, f"{requirement}: make lock"


@pytest.mark.parametrize("extra", SETS)
def test_a_file_holds_only_what_it_adds(extra: str) -> None:
    for below in SETS[extra][:-1]:
        assert locked(extra).keys() & locked(below).keys() == set()


def test_no_package_index_is_named() -> None:
    for file in FOLDER.iterdir():
        assert not re.search(r"https?:|--(extra-)?index-url|--find-links", file.read_text()), file
