"""What the root tests are made of: Debian trees, the wheels that this checkout depends on, a copy of the checkout.

Owns: the cache folder (`EDGESPLIT_FLEET_DIR`, else /var/tmp/edgesplit-fleet). Its rule: what stands under its final
name is complete; what is being made is called `….partial`. Not here: what boots from it (`fleet.py`) and the images
(`images.py`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.services.proofs import say
from tests.services.sandbox import Sandbox, missing_tools, run

__all__ = [
    "REPOSITORY",
    "bare_tree",
    "cache_folder",
    "copy_checkout",
    "debian_tree",
    "install_tools",
    "locked",
    "overlay",
    "project_wheel",
    "run_folder",
    "wheelhouse",
]

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PYTHON_VERSION = "3.11"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,iproute2,procps,mosquitto,mosquitto-clients"
BARE = "systemd,systemd-sysv,dbus,iproute2,procps"
WANTED = ("python3-venv", "mosquitto")
BUILD_TOOL = "hatchling"
EXTRAS = "edgesplit[agent,controller]"


def cache_folder() -> Path:
    """Where trees and wheels are kept between runs, outside the checkout."""
    folder = Path(os.environ.get("EDGESPLIT_FLEET_DIR", "/var/tmp/edgesplit-fleet"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_folder(kind: str) -> Path:
    """A fresh folder for one run; those of runs that were killed are removed."""
    for folder in cache_folder().glob(f"{kind}-run-*"):
        if not psutil.pid_exists(int(folder.name.rpartition("-")[2])):
            shutil.rmtree(folder)
    fresh = cache_folder() / f"{kind}-run-{os.getpid()}"
    fresh.mkdir()
    return fresh


@contextmanager
def locked(what: str) -> Iterator[None]:
    """Keep other runs from a part of the cache; a run that is killed lets go of it."""
    with (cache_folder() / f"{what}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install_tools(packages: dict[str, str]) -> str:
    """Install missing programs from the distribution's packages where that is possible.

    Args:
        packages: Program to the package that has it, and others that it needs, a space between them.

    Returns:
        Empty when all are there, else one sentence that says what is missing.
    """
    if os.getuid() != 0:
        return "this test boots machines and needs root: run it with sudo"
    missing = missing_tools(*packages)
    if missing and not missing_tools("apt-get"):
        wanted = sorted({package for name in missing for package in packages[name].split()})
        say(f"installing {', '.join(wanted)} from the distribution's packages")
        for command in (["update"], ["install", "-y", "--no-install-recommends", *wanted]):
            # What is missing afterwards is said below, whatever the reason.
            subprocess.run(
                ["apt-get", "-qq", *command],
                check=False,
                capture_output=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        missing = missing_tools(*packages)
    if missing:
        return f"{', '.join(missing)} cannot be found: install {', '.join(sorted({packages[m] for m in missing}))}"
    return ""


def bare_tree() -> Path:
    """A Debian as it is after installing nothing but systemd; made once, a minute or two.

    Packages that README.md has people install lie in apt's own cache, for the machines have no network.

    Raises:
        CommandFailed: debootstrap or apt could not make it.
    """

    def make(folder: Path) -> None:
        say("making the machines' Debian (once, a minute or two)")
        command = ["debootstrap", "--variant=minbase", f"--include={BARE}", SUITE, str(folder)]
        run(command, timeout_s=800, environment={"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
        shutil.rmtree(folder / "var/cache/apt/archives")
        (folder / "var/cache/apt/archives/partial").mkdir(parents=True)
        for apt in (["update"], ["install", "--yes", "--download-only", *WANTED]):
            run(["chroot", str(folder), "apt-get", "--quiet", *apt], timeout_s=600)

    return _made_once(cache_folder() / f"bare-{_digest(SUITE, BARE, WANTED)}", make)


def debian_tree() -> Path:
    """A minimal Debian with systemd, Python and Mosquitto; made once, about a minute.

    Raises:
        CommandFailed: debootstrap could not make it.
    """

    def make(folder: Path) -> None:
        say("making the machines' Debian (once, a minute or two)")
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)]
        run(command, timeout_s=800, environment={"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
        shutil.rmtree(folder / "var/cache/apt", ignore_errors=True)

    return _made_once(cache_folder() / f"debian-{_digest(SUITE, PACKAGES)}", make)


def project_wheel(folder: Path) -> Path:
    """Build this checkout's wheel into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(REPOSITORY)])
    (wheel,) = folder.glob("edgesplit-*.whl")
    return wheel


def wheelhouse() -> Path:
    """The wheels edgesplit's daemons and its build depend on, for the Debian tree's Python; fetched by this machine's pip."""

    def make(folder: Path) -> None:
        wheel = project_wheel(folder / "project")
        where = ["--find-links", str(wheel.parent), "--dest", str(folder)]
        pip = [sys.executable, "-m", "pip", "--quiet", "download", "--only-binary=:all:", *where]
        run([*pip, "--python-version", PYTHON_VERSION, EXTRAS, BUILD_TOOL], timeout_s=600)
        shutil.rmtree(folder / "project")
        for own in folder.glob("edgesplit-*.whl"):
            own.unlink()

    return _made_once(cache_folder() / f"wheels-{_digest(_requirements())}", make)


def copy_checkout(folder: Path) -> None:
    """Copy the files of this checkout that are not ignored, as a reader of README.md has them."""
    listed = run(["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def overlay(sandbox: Sandbox, root: Path, top: Path, below: list[Path]) -> None:
    """Mount layers at `root`; what is written there lands in `top`.

    Args:
        below: From the upper to the lower.
    """
    work = top.with_name(f"{top.name}-work")
    for folder in (root, top, work):
        folder.mkdir(parents=True, exist_ok=True)
    layers = ":".join(map(str, below))
    options = f"lowerdir={layers},upperdir={top},workdir={work}"
    sandbox.run("mount", "-t", "overlay", "overlay", "-o", options, str(root))


def _made_once(path: Path, make: Callable[[Path], None]) -> Path:
    if path.exists():
        return path
    with locked(path.name):
        # Another run may have made it meanwhile.
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(path)
    return path


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _requirements() -> list[list[str]]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [
        project["dependencies"],
        *(extras[name] for name in ("agent-base", "agent", "controller-base", "controller")),
    ]
