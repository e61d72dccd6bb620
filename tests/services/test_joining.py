"""From three bare machines to a served request, all planes authenticated: counted, timed and tried (`make test-joining`, root).

What is counted is what README.md has people type once packages are there. Tests run in order: the last ones end trust in a machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.fleet import AGENT, BIN, CONTROLLER, SHARED, Fleet, Machine
from tests.services.instructions import Block, blocks
from tests.services.material import install_tools
from tests.services.proofs import Proofs, say
from tests.services.sandbox import CommandFailed, eventually
from tests.services.test_fleet import NODES, TOOLS, property_of, serves
from tests.services.tls_probe import PROBE, takes_tls_alone
from tests.services.traffic import MODEL, Request, nodes_online, prepare_request

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

PACKAGES, (FOUND, JOIN, ASK) = blocks()[:2], blocks()[2:]
MOST_COMMANDS = 5
"""On the controller's machine, from packages to a served request."""
MOST_SECONDS = 60.0
BITES_WITHIN_S = 5.0
PORTS = (8883, 7480, 7400, 7470)
"""Of broker, controller, data plane and agents' HTTP."""
SNAPSHOT = (
    "find /etc /opt /root /usr/local /var/lib /var/cache -xdev"
    " ! -path '*/__pycache__*' ! -path '/var/lib/systemd/*' ! -path '/var/lib/private' | sort"
)
"""What a machine has, but for what Python and systemd keep for themselves."""


@pytest.fixture(scope="module")
def proofs() -> Iterator[Proofs]:
    """Collects what is shown; printed when the last test is done."""
    proofs = Proofs()
    yield proofs
    proofs.show("proven from three bare machines to a secured fleet")


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Machines with packages and nothing set up; their logs are printed when something failed."""
    if reason := install_tools(TOOLS):
        pytest.fail(reason, pytrace=False)
    with Fleet() as fleet:
        for block in PACKAGES:
            fleet.follow(block)
        yield fleet
        if request.session.testsfailed:
            say(fleet.journals(120))


@pytest.fixture(scope="module")
def before(fleet: Fleet) -> str:
    """What lies on the cloud's machine before it joins."""
    return fleet.machines["cloud"].run("sh", "-c", SNAPSHOT)


@pytest.fixture(scope="module")
def took_s(fleet: Fleet, before: str) -> dict[Block, float]:
    """A fleet that served its first request, and how long each of README.md's blocks took. [s]"""
    assert before
    try:
        return {block: fleet.follow(block) for block in (FOUND, JOIN, ASK)}
    except BaseException:
        say(fleet.journals(120))
        raise


@pytest.fixture(scope="module")
def first(fleet: Fleet, took_s: dict[Block, float]) -> Machine:
    """The machine of broker, controller and the device's agent, once all serve."""
    assert took_s
    return fleet.first


@pytest.fixture(scope="module")
def request_file(fleet: Fleet, first: Machine) -> Request:
    """A request as README.md's, from the folder that all see."""
    assert first
    return prepare_request(fleet.shared)


def test_few_commands_and_a_minute(
    fleet: Fleet, took_s: dict[Block, float], request_file: Request, proofs: Proofs
) -> None:
    on_first, on_each = len(FOUND.commands) + len(ASK.commands), len(JOIN.commands)
    whole_s = sum(took_s.values())
    parts = ", ".join(f"{block.title} {spent_s:.1f} s" for block, spent_s in took_s.items())
    say(f"{on_first} + {on_each} commands, {whole_s:.1f} s: {parts}")
    assert on_first <= MOST_COMMANDS
    assert on_each == 1
    fleet.first.run("cp", "/tmp/logits.npz", f"{SHARED}/output.npz")
    request_file.check_output()
    assert whole_s <= MOST_SECONDS
    proofs.add(f"{on_first} commands on the first machine, {on_each} on each node", f"{whole_s:.1f} s ({parts})")


def test_every_node_is_there_without_a_warning(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    rows = {row["name"]: (row["advertise"], row["warnings"], row["insecure"]) for row in first.splitctl("nodes")}
    assert rows == {node: (f"{machine.address}:7400", [], False) for node, machine in fleet.machines.items()}
    certificates = {f"{row['role']}/{row['name']}" for row in first.splitctl("certs")}
    assert {f"node/{node}" for node in NODES} <= certificates
    proofs.add("nodes", f"online under their own addresses, none insecure; {len(certificates)} certificates")


def test_beyond_loopback_everything_is_tls(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    asking = fleet.machines["cloud"]
    open_: dict[str, set[int]] = {}
    for node, machine in fleet.machines.items():
        rows = [line.split()[3] for line in machine.run("ss", "-Hltn").splitlines()]
        open_[node] = {int(row.rpartition(":")[2]) for row in rows if not row.startswith(("127.", "[::1]"))}
    assert open_ == {"device": set(PORTS), "edge": {7400, 7470}, "cloud": {7400, 7470}}
    for node in ("device", "edge"):
        for port in sorted(open_[node]):
            said = asking.run(f"{BIN}/python", "-c", PROBE, fleet.machines[node].address, str(port))
            assert takes_tls_alone(said), (node, port, said)
    used: set[int] = set()
    for machine in fleet.machines.values():
        for line in machine.run("ss", "-Htn", "state", "established").splitlines():
            local, peer = line.split()[2:4]
            if not peer.startswith(("127.", "[::1]", f"{machine.address}:")):
                ports = {int(end.rpartition(":")[2]) for end in (local, peer)} & set(PORTS)
                assert ports, line
                used |= ports
    proofs.add(
        "beyond loopback TLS 1.3 alone",
        f"ports {', '.join(map(str, PORTS))}: TLS 1.2, plain HTTP and plain MQTT refused; connections use {sorted(used)}",
    )


def test_without_a_certificate_nothing_is_served(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    script = (
        "import sys, edgesplit, numpy\nfrom edgesplit.errors import EdgesplitError\n"
        f"with numpy.load('{SHARED}/input.npz') as file: inputs = dict(file)\n"
        "for files in ({}, {'ca_file': sys.argv[2]}):\n"
        "    try:\n"
        f"        edgesplit.connect(sys.argv[1], **files).infer('{MODEL}', inputs)\n"
        "        print('served')\n"
        "    except EdgesplitError as error:\n"
        "        print(error.code, error)\n"
    )
    authority = "/var/lib/edgesplit-agent/trust/authority.pem"
    said = fleet.machines["cloud"].run(f"{BIN}/python", "-c", script, f"{first.address}:7400", authority)
    plain, nameless = said.splitlines()
    assert "served" not in said
    assert nameless.startswith("not-trusted")
    with pytest.raises(CommandFailed, match=r"ended with 4:"):
        first.run("splitctl", "--broker", f"mqtt://{first.address}:8883", "nodes")
    proofs.add("strangers", f"plain: {plain}; TLS without certificate: {nameless}")


def test_keys_are_the_services_alone(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    shown = []
    for machine in fleet.machines.values():
        owner = _user_of(machine, AGENT)
        assert _keys(machine, "/var/lib/private/edgesplit-agent/") == {("600", owner)}
        shown.append(f"{machine.node} uid {owner}")
    assert _keys(first, "/var/lib/private/edgesplit/") == {("600", _user_of(first, CONTROLLER))}
    assert _keys(first, "/etc/mosquitto/") == {("600", first.run("id", "-u", "mosquitto").strip())}
    assert _keys(first, "/root/.config/edgesplit/") == {("600", "0")}
    for machine in fleet.machines.values():
        told = machine.run("journalctl", "--no-pager", "--output", "json")
        assert machine.join_line.rpartition(" ")[2] not in told
        assert "PRIVATE KEY" not in told
    proofs.add("keys 0600, of users that exist while the service runs", ", ".join(shown))


def _user_of(machine: Machine, unit: str) -> str:
    """Numeric user of a service, which must be one of systemd's range for DynamicUser=."""
    status = machine.run("cat", f"/proc/{property_of(machine, unit, 'MainPID')}/status")
    user = dict(line.split(":", 1) for line in status.splitlines())["Uid"].split()[0]
    assert 61184 <= int(user) <= 65519
    return user


def _keys(machine: Machine, folder: str) -> set[tuple[str, str]]:
    """Modes and owners of all keys below a folder."""
    found = machine.run("find", folder, "-name", "*key.pem", "-printf", "%m %U\\n").split()
    return set(zip(found[::2], found[1::2], strict=True))


def test_joining_again_changes_nothing(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    machine = fleet.machines["edge"]
    pid = property_of(machine, AGENT, "MainPID")
    machine.follow(JOIN)
    assert property_of(machine, AGENT, "MainPID") == pid
    with pytest.raises(CommandFailed, match=r"holds an identity already|there is a context"):
        first.run("splitctl", "ca", "init", "--mosquitto", "/etc/mosquitto", "--service")
    proofs.add("again", "joining: nothing done, the agent goes on; ca init: refused")


def test_a_machine_that_boots_comes_back_serving(
    fleet: Fleet, first: Machine, request_file: Request, proofs: Proofs
) -> None:
    boots_s = {node: fleet.machines[node].reboot() for node in ("edge", "device")}
    started_s = time.monotonic()
    eventually(lambda: nodes_online(first.splitctl) == NODES, "all nodes online", timeout_s=90)
    eventually(lambda: serves(first, request_file), "the model serves", timeout_s=90)
    back_s = time.monotonic() - started_s
    told = ", ".join(f"{node} {boot_s:.1f} s" for node, boot_s in boots_s.items())
    proofs.add("reboot, the broker's machine too", f"{told}; serves {back_s:.1f} s later, nothing done by hand")


def test_revoking_bites(fleet: Fleet, first: Machine, request_file: Request, proofs: Proofs, tmp_path: Path) -> None:
    victim = fleet.machines["cloud"]
    others = [machine for machine in fleet.machines.values() if machine is not victim]
    eventually(lambda: sum(_connections(machine, victim) for machine in others), "connections with the cloud")
    with (tmp_path / "asked.json").open("wb") as output:
        asking = first.start(
            f"{BIN}/python", f"{SHARED}/keep_asking.py", MODEL, f"{SHARED}/input.npz", "15", output=output
        )
        time.sleep(2)  # requests are on their way then; the script tells nothing before its end
        started_s = time.monotonic()
        first.splitctl("node", "revoke", "cloud")
        told_s = time.monotonic() - started_s
        eventually(
            lambda: not any(_connections(machine, victim) for machine in others), "its connections end", pause_s=0.1
        )
        closed_s = time.monotonic() - started_s
        eventually(lambda: "cloud" not in nodes_online(first.splitctl), "the cloud is offline", pause_s=0.1)
        offline_s = time.monotonic() - started_s
        assert asking.wait(timeout=60) == 0, (tmp_path / "asked.json").read_text()
    answered = int((tmp_path / "asked.json").read_text())
    say(
        f"revoked: told {told_s:.2f} s, connections ended {closed_s:.2f} s, offline {offline_s:.2f} s; {answered} answered"
    )
    assert closed_s - told_s <= BITES_WITHIN_S
    time.sleep(3)  # time for the revoked agent to try again
    assert not any(_connections(machine, victim) for machine in others)
    proofs.add(
        "revoking a node",
        f"connections with it ended {closed_s - told_s:.2f} s after the command's {told_s:.2f} s; offline after {offline_s:.2f} s; "
        f"{answered} requests meanwhile, 0 failed",
    )


def _connections(machine: Machine, other: Machine) -> int:
    """Open connections of the data plane between two machines, as one of them sees them."""
    lines = machine.run("ss", "-Htn", "state", "established").splitlines()
    return sum(f"{other.address}:" in line and (":7400" in line or ":7470" in line) for line in lines)


def test_leaving_takes_everything_back(
    fleet: Fleet, first: Machine, before: str, request_file: Request, proofs: Proofs
) -> None:
    machine = fleet.machines["cloud"]
    said = machine.run("edgesplit-agent", "leave", "--purge")
    assert "node cloud has left" in said
    left = sorted(set(machine.run("sh", "-c", SNAPSHOT).splitlines()) ^ set(before.splitlines()))
    assert left == []
    assert property_of(machine, AGENT, "LoadState") == "not-found"
    assert machine.run("edgesplit-agent", "leave").startswith("nothing to undo")
    first.splitctl("node", "remove", "cloud")
    machine.join_line = first.splitctl("node", "add", "cloud", "--again")[0]["command"]
    machine.follow(JOIN)
    eventually(lambda: nodes_online(first.splitctl) == NODES, "all nodes online")
    eventually(lambda: serves(first, request_file), "the model serves")
    proofs.add(
        "leave --purge", f"no file more or less than before joining ({len(before.splitlines())} compared); joined anew"
    )
