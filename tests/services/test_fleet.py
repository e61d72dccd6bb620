"""Three machines with real systemd: edgesplit's services through kill, hang and reboot (`make test-systemd`, root).

Every proof starts from a fleet that serves and must leave one that serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.fleet import AGENT, BIN, CONTROLLER, SHARED, Fleet, Machine
from tests.services.instructions import blocks
from tests.services.material import REPOSITORY, install_tools
from tests.services.proofs import Proofs, say
from tests.services.sandbox import eventually
from tests.services.traffic import MODEL, Request, helper_of, nodes_online, prepare_request

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
NODES = {"device", "edge", "cloud"}
# The device alone is slowed, so that the plan gives other machines work to lose.
EMULATION = "\\n[emulation]\\nslow_down = 20.0\\n"


@pytest.fixture(scope="module")
def proofs() -> Iterator[Proofs]:
    """Collects what is shown; printed when the last test is done."""
    proofs = Proofs()
    yield proofs
    proofs.show("proven on three machines with real systemd")


@pytest.fixture(scope="module")
def fleet(proofs: Proofs, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Machines set up as README.md says, one command after the other; their logs are printed when something failed."""
    if reason := install_tools(TOOLS):
        pytest.fail(reason, pytrace=False)
    with Fleet() as fleet:
        boots = ", ".join(f"{node} {boot_s:.1f} s" for node, boot_s in fleet.boot_s.items())
        proofs.add("three machines boot", boots)
        try:
            set_up(fleet, proofs)
        except BaseException:
            say(fleet.journals())
            raise
        yield fleet
        if request.session.testsfailed:
            say(fleet.journals())


def set_up(fleet: Fleet, proofs: Proofs) -> None:
    """Follow README.md."""
    took = [f"{block.title} {fleet.follow(block):.0f} s" for block in blocks()]
    python = fleet.first.run(f"{BIN}/python", "--version").strip()
    proofs.add(f"README.md, command by command, on {python}", "; ".join(took))


@pytest.fixture(scope="module")
def first(fleet: Fleet) -> Machine:
    """The machine of broker, controller and the device's agent."""
    return fleet.first


@pytest.fixture(scope="module")
def request_file(fleet: Fleet, first: Machine) -> Request:
    """A request to the model that README.md deploys; the device is slowed, so that other machines have work to lose."""
    prepared = prepare_request(fleet.shared)
    first.run("sh", "-c", f"printf '{EMULATION}' >> /etc/edgesplit/agent.toml")
    first.run("systemctl", "reload", AGENT)
    return prepared


@pytest.fixture
def serving(first: Machine, request_file: Request) -> Machine:
    """The first machine, once all nodes are online and the plan gives another machine work."""
    eventually(lambda: nodes_online(first.splitctl) == NODES, "all nodes online")
    eventually(lambda: helper_of(first.splitctl), "a plan that uses another machine", timeout_s=90)
    eventually(lambda: serves(first, request_file), "the model serves", timeout_s=90)
    return first


def serves(first: Machine, request: Request, count: int = 3) -> bool:
    """Whether requests are answered with what the whole model gives."""
    answer = first.splitctl(
        "infer", MODEL, "--input", f"{SHARED}/input.npz", "--output", f"{SHARED}/output.npz", "--count", str(count)
    )
    assert answer["failed"] == 0
    request.check_output()
    return True


def property_of(machine: Machine, unit: str, name: str) -> str:
    """A unit's property, such as MainPID."""
    return machine.run("systemctl", "show", "--value", "--property", name, unit).strip()


def journal(machine: Machine, unit: str) -> str:
    """A unit's log since the machine started."""
    return machine.run("journalctl", "--boot", "--no-pager", "--output", "cat", "--unit", unit)


def restarts(machine: Machine, unit: str) -> int:
    """How often systemd restarted a unit."""
    return int(property_of(machine, unit, "NRestarts"))


def wait_back(machine: Machine, first: Machine, unit: str, before: int) -> None:
    """Wait until systemd has restarted a unit and its node is online again."""
    eventually(lambda: restarts(machine, unit) > before, f"systemd restarts {unit}", timeout_s=90)
    eventually(lambda: property_of(machine, unit, "ActiveState") == "active", f"{unit} is active")
    eventually(lambda: machine.node in nodes_online(first.splitctl), f"{machine.node} is online")


def test_the_first_request_is_answered_right(fleet: Fleet, first: Machine, proofs: Proofs) -> None:
    whole = prepare_request(fleet.shared)
    first.run("cp", "/tmp/logits.npz", f"{SHARED}/output.npz")
    whole.check_output()
    assert {row["name"]: (row["advertise"], row["warnings"]) for row in first.splitctl("nodes")} == {
        node: (f"{machine.address}:7400", []) for node, machine in fleet.machines.items()
    }
    proofs.add("the first request", "equal to the whole model's; every machine is advertised under its own address")


def test_units_have_no_complaints_from_the_machines_own_systemd(fleet: Fleet, proofs: Proofs) -> None:
    for machine in fleet.machines.values():
        said = machine.run("sh", "-c", f"systemd-analyze verify /etc/systemd/system/{AGENT} 2>&1")
        assert said == ""
        assert machine.run("systemctl", "--failed", "--no-legend", "--plain") == ""
    proofs.add("units verified where they run", "systemd-analyze verify silent, no failed unit")


def test_services_run_as_users_that_exist_only_while_they_run(serving: Machine, proofs: Proofs) -> None:
    users = {}
    for unit in (AGENT, CONTROLLER):
        pid = property_of(serving, unit, "MainPID")
        status = serving.run("cat", f"/proc/{pid}/status")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        users[unit] = int(fields["Uid"].split()[0])
        assert 61184 <= users[unit] <= 65519  # systemd's range for DynamicUser=
        assert fields["CapEff"].strip() == "0" * 16
        assert fields["NoNewPrivs"].strip() == "1"
        assert fields["Seccomp"].strip() == "2"
    shown = ", ".join(f"{unit.removesuffix('.service')} uid {user}" for unit, user in users.items())
    proofs.add("no privileges", f"{shown}, no capability, seccomp")


def test_an_agent_that_finds_no_broker_waits_for_it(serving: Machine, fleet: Fleet, proofs: Proofs) -> None:
    early = fleet.machines["cloud"]
    serving.run("systemctl", "stop", "mosquitto")
    try:
        started_s = time.monotonic()
        early.run("systemctl", "restart", AGENT)
        early_s = time.monotonic() - started_s
        assert early_s < 30, f"starting an agent without a broker took {early_s:.0f} s"
        waits = property_of(early, AGENT, "StatusText")
        assert property_of(early, AGENT, "ActiveState") == "active"
        assert "waiting for the broker" in waits
    finally:
        serving.run("systemctl", "start", "mosquitto")
    eventually(lambda: nodes_online(serving.splitctl) == NODES, "all nodes online", timeout_s=90)
    proofs.add("an agent that starts while there is no broker", f"done after {early_s:.1f} s: {waits}")


DROP_INS = {"agent-rapl.conf": "groupadd --force --system edgesplit-power", "agent-gpu.conf": "true"}


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_the_agent_starts_with_a_drop_in(serving: Machine, drop_in: str, proofs: Proofs) -> None:
    target = f"/etc/systemd/system/{AGENT}.d/{drop_in}"
    (serving.shared / drop_in).write_bytes((REPOSITORY / "systemd/drop-ins" / drop_in).read_bytes())
    serving.run("sh", "-c", DROP_INS[drop_in])
    serving.run("install", "-D", "-m", "644", f"{SHARED}/{drop_in}", target)
    try:
        serving.run("systemctl", "daemon-reload")
        serving.run("systemctl", "restart", AGENT)
        assert target in property_of(serving, AGENT, "DropInPaths")
    finally:
        serving.run("rm", target)
        serving.run("systemctl", "daemon-reload")
        serving.run("systemctl", "restart", AGENT)
    proofs.add(f"drop-in {drop_in}", "the agent starts with it")


def test_a_model_runs_split_over_services(serving: Machine, request_file: Request, proofs: Proofs) -> None:
    assert serves(serving, request_file, count=20)
    plan = serving.splitctl("plan", MODEL)
    parts = ", ".join(f"{node} {part['operators']}" for node, part in plan["per_node"].items() if part["operators"])
    proofs.add("splitctl add, deploy, infer", f"20 requests, 0 failed, equal to the whole model; operators: {parts}")


def test_a_killed_agent_comes_back(serving: Machine, fleet: Fleet, request_file: Request, proofs: Proofs) -> None:
    victim = fleet.machines[helper_of(serving.splitctl)]
    before, started_s = restarts(victim, AGENT), time.monotonic()
    victim.run("systemctl", "kill", "--signal", "KILL", AGENT)
    wait_back(victim, serving, AGENT, before)
    back_s = time.monotonic() - started_s
    eventually(lambda: serves(serving, request_file), "the model serves", timeout_s=90)
    proofs.add("kill -9 of an agent", f"{victim.node}: online after {back_s:.1f} s, infer works")


def test_a_hung_agent_is_restarted_by_the_watchdog(
    serving: Machine, fleet: Fleet, request_file: Request, proofs: Proofs
) -> None:
    victim = fleet.machines[helper_of(serving.splitctl)]
    before, started_s = restarts(victim, AGENT), time.monotonic()
    victim.run("systemctl", "kill", "--signal", "STOP", AGENT)
    wait_back(victim, serving, AGENT, before)
    back_s = time.monotonic() - started_s
    assert "Watchdog timeout" in journal(victim, AGENT)
    eventually(lambda: serves(serving, request_file), "the model serves", timeout_s=90)
    proofs.add("hang of an agent (SIGSTOP)", f"{victim.node}: watchdog, online after {back_s:.1f} s, infer works")


def test_requests_go_on_while_the_controller_is_killed(
    serving: Machine, request_file: Request, proofs: Proofs, tmp_path: Path
) -> None:
    epoch = serving.splitctl("plan", MODEL)["epoch"]
    before, started_s = restarts(serving, CONTROLLER), time.monotonic()
    with (tmp_path / "infer.json").open("wb") as output:
        command = [f"{BIN}/python", f"{SHARED}/keep_asking.py", MODEL, f"{SHARED}/input.npz", "10"]
        requests = serving.start(*command, output=output)
        time.sleep(2)  # requests are on their way then; the script tells nothing before its end
        serving.run("systemctl", "kill", "--signal", "KILL", CONTROLLER)
        eventually(lambda: restarts(serving, CONTROLLER) > before, "systemd restarts the controller")
        eventually(lambda: serving.splitctl("plan", MODEL)["epoch"] >= epoch, "the controller knows its plan again")
        back_s = time.monotonic() - started_s - 2
        assert requests.wait(timeout=60) == 0, (tmp_path / "infer.json").read_text()
    answered = int((tmp_path / "infer.json").read_text())
    assert answered > 0
    assert eventually(lambda: serves(serving, request_file), "the model serves")
    told = f"{answered} requests meanwhile, 0 failed; the controller knew its plan again after {back_s:.1f} s"
    proofs.add("kill -9 of the controller", told)


def test_a_hung_controller_is_restarted_by_the_watchdog(
    serving: Machine, request_file: Request, proofs: Proofs
) -> None:
    before, started_s = restarts(serving, CONTROLLER), time.monotonic()
    serving.run("systemctl", "kill", "--signal", "STOP", CONTROLLER)
    eventually(lambda: restarts(serving, CONTROLLER) > before, "systemd restarts the controller", timeout_s=90)
    eventually(lambda: nodes_online(serving.splitctl) == NODES, "the controller knows all nodes again")
    back_s = time.monotonic() - started_s
    assert "Watchdog timeout" in journal(serving, CONTROLLER)
    eventually(lambda: serves(serving, request_file), "the model serves", timeout_s=90)
    proofs.add("hang of the controller (SIGSTOP)", f"watchdog, whole registry after {back_s:.1f} s, infer works")


def test_a_machine_of_the_plan_can_reboot(
    serving: Machine, fleet: Fleet, request_file: Request, proofs: Proofs
) -> None:
    victim = fleet.machines[helper_of(serving.splitctl)]
    boot_s = victim.reboot()
    eventually(lambda: property_of(victim, AGENT, "ActiveState") == "active", "the agent started by itself")
    eventually(lambda: victim.node in nodes_online(serving.splitctl), f"{victim.node} is online")
    eventually(lambda: serves(serving, request_file), "the model serves", timeout_s=90)
    proofs.add("reboot of an agent's machine", f"{victim.node}: up after {boot_s:.1f} s, services by themselves")


def test_the_machine_of_broker_and_controller_can_reboot(
    serving: Machine, request_file: Request, proofs: Proofs
) -> None:
    boot_s, started_s = serving.reboot(), time.monotonic()
    eventually(lambda: nodes_online(serving.splitctl) == NODES, "all nodes online")
    eventually(lambda: serves(serving, request_file), "the model serves", timeout_s=90)
    back_s = time.monotonic() - started_s
    told = f"up after {boot_s:.1f} s, {back_s:.1f} s later all nodes online and the model serves, nothing done by hand"
    proofs.add("reboot of broker and controller", told)


def test_a_machine_that_gets_another_address_is_followed(
    serving: Machine, fleet: Fleet, request_file: Request, proofs: Proofs
) -> None:
    victim = fleet.machines[helper_of(serving.splitctl)]
    other = victim.address.replace("10.77.0.1", "10.77.0.2")
    before, started_s = restarts(victim, AGENT), time.monotonic()
    victim.run("ip", "address", "add", f"{other}/24", "dev", "eth0")
    victim.run("ip", "address", "delete", f"{victim.address}/24", "dev", "eth0")
    victim.run("ip", "address", "replace", f"{other}/24", "dev", "eth0")

    def advertised() -> str:
        (row,) = [row for row in serving.splitctl("nodes") if row["name"] == victim.node and row["online"]]
        return str(row["advertise"])

    eventually(lambda: advertised() == f"{other}:7400", "the new address is advertised")
    back_s = time.monotonic() - started_s
    # The three are alike, so that nothing pays for moving back by itself: without the other one the plan has to.
    (third,) = NODES - {victim.node, "device"}
    serving.splitctl("forbid", third)
    try:
        eventually(lambda: helper_of(serving.splitctl) == victim.node, "the plan uses the machine again", timeout_s=90)
        assert serves(serving, request_file, count=20)
    finally:
        serving.splitctl("allow", third)
    assert restarts(victim, AGENT) == before
    kinds = {event["kind"] for event in serving.splitctl("events")}
    assert kinds & {"node-moved", "node-joined"}
    proofs.add("another address (DHCP)", f"{victim.node}: advertised after {back_s:.1f} s, infer works, no restart")


def test_settings_are_read_again_on_reload(serving: Machine, proofs: Proofs) -> None:
    path = "/etc/edgesplit/agent.toml"
    serving.run("sed", "-i", "s/^slow_down = .*/slow_down = 15.0/", path)
    serving.run("systemctl", "reload", AGENT)
    eventually(lambda: "event=reloaded" in journal(serving, AGENT), "the agent says that it reloaded", timeout_s=20)
    serving.run("sed", "-i.good", "s/^slow_down = .*/slow_down = ?/", path)
    serving.run("systemctl", "reload", AGENT)
    eventually(lambda: "event=reload-refused" in journal(serving, AGENT), "the agent refuses", timeout_s=20)
    found = serving.run(
        "journalctl", "--boot", "--no-pager", "--output", "cat", "EDGESPLIT_EVENT=reload-refused", "-p", "err"
    )
    assert found.startswith("part=agent event=reload-refused")
    assert property_of(serving, AGENT, "ActiveState") == "active"
    serving.run("mv", f"{path}.good", path)
    proofs.add("systemctl reload", "new settings taken, wrong ones refused with a sentence while it goes on")
