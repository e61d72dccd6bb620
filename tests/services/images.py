"""The images and the compose file under an engine: docker where its daemon answers, else buildah and podman.

Owns: how images are built, services started and asked with either. Its rule: the Dockerfile and compose.yaml are used
as they are; what a machine without a registry lacks (base images, a network) is brought in from outside. Not here:
what is proven (`test_images.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.services.material import REPOSITORY, cache_folder, debian_tree, locked, run_folder, wheelhouse
from tests.services.proofs import say
from tests.services.sandbox import CommandFailed, Sandbox, run

__all__ = ["NODES", "SERVICES", "DockerEngine", "Engine", "PodmanEngine", "docker_answers"]

NODES = ("device", "edge", "cloud")
SERVICES = ("broker", "controller", *NODES)
IMAGES = {"agent": "localhost/edgesplit-agent-test", "controller": "localhost/edgesplit-controller-test"}
PROJECT = "edgesplit-test"
BOTH_STREAMS = ("sh", "-c", 'exec "$@" 2>&1', "sh")
"""Runs a command whose standard error counts as output."""
# The device alone is slowed, so that the plan gives other containers work.
OVERRIDE = """
services:
  device:
    environment: {EDGESPLIT_EMULATION_SLOW_DOWN: "20.0"}
"""
SUBNET = "10.89.7"


def _addresses() -> str:
    """Addresses and hosts' names: the name server of Debian's podman goes deaf for a minute where it is asked while containers start."""
    address = {service: f"{SUBNET}.{place}" for place, service in enumerate((*SERVICES, "founding", "joining"), 10)}
    hosts = [f"{service}:{address[service]}" for service in SERVICES]
    services: dict[str, Any] = {
        service: {"extra_hosts": hosts, "networks": {"default": {"ipv4_address": at}}}
        for service, at in address.items()
    }
    services["splitctl"] = {"extra_hosts": hosts}
    network = {"default": {"x-podman.disable_dns": True, "ipam": {"config": [{"subnet": f"{SUBNET}.0/24"}]}}}
    return json.dumps({"networks": network, "services": services})


def _plugin() -> str:
    """Mosquitto's dynamic security plugin in the Debian tree, as seen from inside."""
    (found,) = debian_tree().glob("usr/lib/*/mosquitto_dynamic_security.so")
    return f"/{found.relative_to(debian_tree())}"


def docker_answers() -> bool:
    """Whether a docker daemon with compose can be used."""
    if shutil.which("docker") is None:
        return False
    checks = (["docker", "info"], ["docker", "compose", "version"])
    return all(subprocess.run(check, check=False, capture_output=True).returncode == 0 for check in checks)


class Engine(ABC):
    """Builds the images and runs the compose file.

    Attributes:
        name: What is used, for the table of proofs.
        shared: A folder that splitctl sees as /files.
    """

    name: str

    def __init__(self) -> None:
        self.folder = run_folder("compose")
        self.shared = self.folder / "files"
        self.shared.mkdir()
        self._override = self.folder / "override.yaml"
        self._override.write_text(OVERRIDE)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the compose file reads."""
        return {
            "EDGESPLIT_AGENT_IMAGE": IMAGES["agent"],
            "EDGESPLIT_CONTROLLER_IMAGE": IMAGES["controller"],
            "PWD": str(self.shared),
        }

    @abstractmethod
    def build(self, target: str) -> None:
        """Build one of the Dockerfile's targets, `agent` or `controller`."""

    @abstractmethod
    def engine(self, *command: str, timeout_s: float = 120.0) -> str:
        """Run the engine's command line."""

    @abstractmethod
    def compose(self, *command: str, timeout_s: float = 300.0) -> str:
        """Run the compose tool on the compose file."""

    @abstractmethod
    def is_healthy(self, service: str) -> bool:
        """Whether the image's health check is content with a service."""

    @abstractmethod
    def kill_process(self, service: str) -> None:
        """Kill a service's main process behind the engine's back."""

    def up(self) -> None:
        """Start all services."""
        self.compose("up", "--detach")

    def splitctl(self, *arguments: str) -> Any:
        """Run splitctl in the compose network and return its JSON document."""
        command = ["--profile", "tools", "run", "--rm", "--no-deps", "-T", "splitctl", "--json"]
        return json.loads(self.compose(*command, *arguments))

    def container(self, service: str) -> str:
        """The id of a service's container."""
        labels = {"project": PROJECT, "service": service}
        filters = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in labels.items()]
        return self.engine("ps", "--all", "--quiet", "--no-trunc", *filters).strip()

    def inspect(self, kind: str, what: str, template: str) -> str:
        """One value of `inspect`."""
        return self.engine(kind, "inspect", "--format", template, what).strip()

    def run_in_image(self, target: str, *command: str) -> str:
        """Run a command in a fresh container of an image."""
        return self.engine("run", "--rm", "--network=none", f"--entrypoint={command[0]}", IMAGES[target], *command[1:])

    def logs(self) -> str:
        """The end of every service's log, for whoever has to find out why something failed."""
        return "\n".join(
            f"--- {service} ---\n{self.said_by(service)}" for service in ("founding", "joining", *SERVICES)
        )

    @abstractmethod
    def said_by(self, service: str) -> str:
        """The end of what a service wrote to standard output and error."""

    def image_bytes(self, target: str) -> int:
        """Size of an image. [B]"""
        return int(self.inspect("image", IMAGES[target], "{{.Size}}"))

    def close(self) -> None:
        """Remove services, volumes and networks."""
        self.compose("down", "--volumes")

    def _compose_options(self) -> list[str]:
        return ["-p", PROJECT, "-f", str(REPOSITORY / "docker/compose.yaml"), "-f", str(self._override)]


class DockerEngine(Engine):
    """Docker's daemon with its compose plugin; base images and packages come from where it is set up to look."""

    name = "docker compose"

    def build(self, target: str) -> None:
        """Build with docker."""
        dockerfile = str(REPOSITORY / "docker/Dockerfile")
        command = ["build", "--quiet", "--file", dockerfile, "--target", target, "--tag", IMAGES[target]]
        self.engine(*command, str(REPOSITORY), timeout_s=900)

    def engine(self, *command: str, timeout_s: float = 120.0) -> str:
        """Run docker."""
        # compose takes PWD from where it is started.
        line = ["env", f"--chdir={self.shared}", "docker", *command]
        return run(line, timeout_s=timeout_s, environment=self.environment)

    def said_by(self, service: str) -> str:
        """See `Engine`."""
        return run(
            [*BOTH_STREAMS, "docker", "logs", "--tail=40", self.container(service)], environment=self.environment
        )

    def compose(self, *command: str, timeout_s: float = 300.0) -> str:
        """Run docker compose."""
        return self.engine("compose", *self._compose_options(), *command, timeout_s=timeout_s)

    def is_healthy(self, service: str) -> bool:
        """Read what the daemon found at its last check."""
        return self.inspect("container", self.container(service), "{{.State.Health.Status}}") == "healthy"

    def close(self) -> None:
        """Remove services and the folder."""
        try:
            super().close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill_process(self, service: str) -> None:
        """Kill from outside: docker itself would count its own kill as the user's wish."""
        run(["kill", "-KILL", self.inspect("container", self.container(service), "{{.State.Pid}}")])


class PodmanEngine(Engine):
    """Buildah, podman and podman-compose in a sandbox without network; base images are made from a Debian tree."""

    name = "buildah, podman-compose"

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        # One run at a time: what is in the store besides images belongs to a run that was killed.
        self._stack.enter_context(locked("containers"))
        self._sandbox = self._stack.enter_context(Sandbox("edgesplit-images"))
        self._addresses = self.folder / "addresses.yaml"
        self._addresses.write_text(_addresses())
        try:
            self._write_settings()
            self.engine("rm", "--all", "--force", "--volumes")
            self._buildah("rm", "--all")
            self._composer = self._install_compose()
            self._image = self._base_image()
        except BaseException:
            self._stack.close()
            raise

    @property
    def environment(self) -> Mapping[str, str]:
        """What the compose file and the tools read."""
        return {
            **super().environment,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "DISABLE_HC_SYSTEMD": "true",
            "BUILDAH_ISOLATION": "chroot",
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            **({"MOSQUITTO_IMAGE": self._image, "MOSQUITTO_PLUGIN": _plugin()} if hasattr(self, "_image") else {}),
        }

    def build(self, target: str) -> None:
        """Build with buildah; pip finds the wheels in a mounted folder."""
        volumes = [f"--volume={self.folder / 'pip.conf'}:/etc/pip.conf:ro", f"--volume={wheelhouse()}:/wheels:ro"]
        dockerfile = REPOSITORY / "docker/Dockerfile"
        options = [f"--file={dockerfile}", f"--ignorefile={dockerfile}.dockerignore", f"--target={target}"]
        base = ["--pull-never", f"--build-arg=PYTHON_IMAGE={self._image}", "--format=docker", "--layers"]
        command = ["bud", "--quiet", *volumes, *options, *base, f"--tag={IMAGES[target]}", str(REPOSITORY)]
        self._buildah(*command, timeout_s=900)

    def engine(self, *command: str, timeout_s: float = 120.0) -> str:
        """Run podman."""
        return self._sandbox.run("podman", *command, timeout_s=timeout_s, environment=self.environment)

    def said_by(self, service: str) -> str:
        """See `Engine`."""
        line = [*BOTH_STREAMS, "podman", "logs", "--tail=40", self.container(service)]
        return self._sandbox.run(*line, environment=self.environment)

    def compose(self, *command: str, timeout_s: float = 300.0) -> str:
        """Run podman-compose."""
        environment = {**self.environment, "PYTHONPATH": str(self._composer)}
        line = [sys.executable, "-m", "podman_compose", *self._compose_options(), *command]
        return self._sandbox.run(*line, timeout_s=timeout_s, environment=environment)

    def is_healthy(self, service: str) -> bool:
        """Check now: podman leaves the timing to systemd, which a sandbox lacks."""
        self.engine("healthcheck", "run", self.container(service))
        return True

    def kill_process(self, service: str) -> None:
        """Kill from outside: podman itself would count its own kill as the user's wish."""
        self._sandbox.run("kill", "-KILL", self.inspect("container", self.container(service), "{{.State.Pid}}"))

    def close(self) -> None:
        """Remove services and images that were built anew, then the namespaces."""
        with self._stack:
            super().close()
            self.engine("image", "prune", "--force")

    def _compose_options(self) -> list[str]:
        return [*super()._compose_options(), "-f", str(REPOSITORY / "docker/podman.yaml"), "-f", str(self._addresses)]

    def _buildah(self, *command: str, timeout_s: float = 300.0) -> str:
        return self._sandbox.run("buildah", *command, timeout_s=timeout_s, environment=self.environment).strip()

    def _write_settings(self) -> None:
        """Everything of the engine's own lies in the cache folder or in the sandbox's /run."""
        networks = self.folder / "networks"
        files = {
            "storage.conf": f'[storage]\ndriver = "overlay"\ngraphroot = "{cache_folder() / "containers"}"\n'
            'runroot = "/run/containers/storage"\n',
            # Namespaces of the sandbox have no cgroup controllers and no journal.
            "containers.conf": '[containers]\ncgroups = "disabled"\ndefault_ulimits = []\nlog_driver = "k8s-file"\n'
            '[engine]\nruntime = "crun"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{networks}"\n',
            "pip.conf": "[global]\nno-index = true\nfind-links = /wheels\n",
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def _install_compose(self) -> Path:
        folder = cache_folder() / "podman-compose"
        if not folder.exists():
            partial = folder.with_name("podman-compose.partial")
            shutil.rmtree(partial, ignore_errors=True)
            run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(partial), "podman-compose"])
            partial.rename(folder)
        return folder

    def _base_image(self) -> str:
        """A stand-in of the official images from the Debian tree: the same Python version, and Mosquitto."""
        name = f"localhost/debian:{debian_tree().name}"
        try:
            self._buildah("inspect", "--type", "image", name)
        except CommandFailed:
            say("making a base image from the Debian tree (once)")
            container = self._buildah("from", "scratch")
            self._buildah("add", "--quiet", container, str(debian_tree()), "/")
            self._buildah("run", container, "ln", "-s", "/usr/bin/python3", "/usr/local/bin/python")
            self._buildah("commit", "--quiet", "--format=docker", "--rm", container, name)
        return name
