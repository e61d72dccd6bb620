"""From bare Debian machines to a served request by `apt install`, and back by `apt purge` (`make test-packages`, root).

Tests run in order: the last one takes everything away.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.services.fleet import AGENT, CONTROLLER, SHARED, Fleet, Machine
from tests.services.material import install_tools
from tests.services.packages import build_packages, listing, users
from tests.services.proofs import Proofs, say
from tests.services.sandbox import eventually
from tests.services.test_fleet import TOOLS, property_of
from tests.services.traffic import MODEL, nodes_online, prepare_request

pytestmark = [pytest.mark.root, pytest.mark.timeout(1500)]

APT = "env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-install-recommends"
OPERATORS = "/root/.config"
"""An operator's own: no package touches people's homes."""


@dataclass(frozen=True)
class Bare:
    """A machine as it was before.

    Attributes:
        files: Every file and folder.
        users: Every user and group.
    """

    files: set[str]
    users: set[str]


@pytest.fixture(scope="module")
def proofs() -> Iterator[Proofs]:
    """Collects what is shown; printed when the last test is done."""
    proofs = Proofs()
    yield proofs
    proofs.show("proven of the Debian packages")


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Machines that have what the packages depend on, and the packages in the folder that all see."""
    if reason := install_tools(TOOLS):
        pytest.fail(reason, pytrace=False)
    packages = build_packages(tmp_path_factory.mktemp("packages"))
    with Fleet() as fleet:
        for package, path in packages.items():
            shutil.copy(path, fleet.shared / f"{package}.deb")
        for machine in fleet.machines.values():
            broker = " mosquitto" if machine is fleet.first else ""
            machine.run("sh", "-c", f"{APT} install python3{broker}", timeout_s=300)
        yield fleet
        if request.session.testsfailed:
            say(fleet.journals(120))


@pytest.fixture(scope="module")
def bare(fleet: Fleet) -> dict[str, Bare]:
    """What every machine has before."""
    return {node: Bare(listing(machine), users(machine)) for node, machine in fleet.machines.items()}


@pytest.fixture(scope="module")
def first(fleet: Fleet, bare: dict[str, Bare]) -> Machine:
    """The machine of broker, controller and one agent, with all packages installed and nothing set up."""
    assert bare
    for machine in fleet.machines.values():
        names = ("edgesplit-agent", "edgesplit-controller") if machine is fleet.first else ("edgesplit-agent",)
        files = " ".join(f"{SHARED}/{name}.deb" for name in names)
        machine.run("sh", "-c", f"{APT} install {files}", timeout_s=300)
    return fleet.first


def test_installed_it_brings_units_users_and_settings_and_starts_nothing(first: Machine, proofs: Proofs) -> None:
    for unit, program in ((AGENT, "edgesplit-agent"), (CONTROLLER, "edgesplit-controller")):
        assert property_of(first, unit, "LoadState") == "loaded"
        assert property_of(first, unit, "ActiveState") == "inactive"
        assert property_of(first, unit, "FragmentPath").endswith(f"/systemd/system/{unit}")
        assert program in {line.partition(":")[0] for line in users(first)}
        first.run(program, "--version")
    assert "splitctl" in first.run("splitctl", "--help")
    said = first.run("dpkg", "--verify", "edgesplit-agent", "edgesplit-controller")
    assert said == ""
    proofs.add("apt install", "units, users and settings are there; nothing was started")


def test_a_fleet_of_packages_serves(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    request = prepare_request(fleet.shared)
    printed = first.run("splitctl", "ca", "init", "--mosquitto", "/etc/mosquitto", "--service")
    printed = first.run("splitctl", "node", "add", *fleet.machines)
    lines = [line for line in printed.splitlines() if line.startswith("edgesplit-agent join ")]
    for (node, machine), line in zip(fleet.machines.items(), lines, strict=True):
        machine.run("sh", "-c", f"{line} --service" if "--service" not in line else line)
        owner = machine.run("ps", "-o", "user=", "-p", property_of(machine, AGENT, "MainPID")).strip()
        assert machine.run("id", "-u", "edgesplit-agent").strip() in {owner, machine.run("id", "-u", owner).strip()}, (
            node
        )
    eventually(lambda: nodes_online(first.splitctl) == set(fleet.machines), "all nodes online")
    first.splitctl("model", "add", MODEL, f"{SHARED}/model.onnx")
    first.splitctl("deploy", MODEL, "--source", "device")
    first.splitctl("infer", MODEL, "--input", f"{SHARED}/input.npz", "--output", f"{SHARED}/output.npz")
    request.check_output()
    proofs.add("a secured fleet of packages", "joined, deployed, a request served, its answer that of the whole model")


def test_installing_again_restarts_what_runs(first: Machine, proofs: Proofs) -> None:
    before = property_of(first, AGENT, "MainPID")
    first.run("sh", "-c", f"{APT} install --reinstall {SHARED}/edgesplit-agent.deb", timeout_s=300)
    assert property_of(first, AGENT, "MainPID") not in {before, "0"}
    eventually(lambda: "device" in nodes_online(first.splitctl), "the device is back")
    proofs.add("apt install of another build", "the running service was restarted and came back, its identity kept")


def test_purging_leaves_nothing(fleet: Fleet, first: Machine, bare: dict[str, Bare], proofs: Proofs) -> None:
    for node, machine in fleet.machines.items():
        names = "edgesplit-agent edgesplit-controller" if machine is first else "edgesplit-agent"
        machine.run("sh", "-c", f"{APT} purge {names}", timeout_s=300)
        left = {path for path in listing(machine) - bare[node].files if not path.startswith(OPERATORS)}
        assert left == set(), node
        assert bare[node].files - listing(machine) == set(), f"{node}: something of somebody else is gone"
        assert users(machine) == bare[node].users, node
        assert "edgesplit" not in machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend")
    proofs.add(
        "apt purge",
        f"of {sum(len(one.files) for one in bare.values())} files and folders none more, none less; users as before",
    )
