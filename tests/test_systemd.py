"""The installed services under a real systemd, on a machine in a container.

Each test has a machine of its own, on which the wheel is installed and nothing else was done.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import debian
import pytest
from debian import Machine
from running_service import OTHER_KEY, Load, make_body, post, public_pem, wait_until

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(bool(debian.why_not()), reason=debian.why_not()),
]

ADDRESS = ("127.0.0.1", 8080)
SPOOLER = "/opt/spooler/bin/spooler"
RECEIVER, PROCESSOR = "spooler-receiver.service", "spooler-processor.service"
UNITS = (
    "spooler-receiver.socket",
    RECEIVER,
    PROCESSOR,
    "spooler-prune.service",
    "spooler-prune.timer",
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with debian.machine(tmp_path / "machine") as booted:
        yield booted


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """A machine with services that run, and a script that writes down what it has done."""
    machine.run(SPOOLER, "install")
    save_key(machine)
    wait_until(lambda: is_active(machine, RECEIVER) and is_active(machine, PROCESSOR))
    return machine


def save_key(machine: Machine) -> None:
    (machine.folder / "etc/spooler/keys/crm.pem").write_bytes(public_pem())


def is_active(machine: Machine, unit: str) -> bool:
    return machine.property(unit, "ActiveState") == "active"


def spool(machine: Machine) -> Path:
    return machine.folder / "var/spool/spooler/crm"


def done(machine: Machine) -> Counter[bytes]:
    """Return the bodies in `done/`."""
    return Counter(file.read_bytes() for file in spool(machine).glob("done/*/*.json"))


def unsettled(machine: Machine) -> list[Path]:
    states = ("incoming", "processing", "retry")
    return [path for state in states for path in (spool(machine) / state).glob("[!.]*.json")]


def wait_until_settled(machine: Machine) -> None:
    """Wait as long as it goes on: how many have come in depends on the machine."""
    left = len(unsettled(machine))
    while left:
        wait_until(partial(_is_less, machine, left))
        left = len(unsettled(machine))


def _is_less(machine: Machine, than: int) -> bool:
    return len(unsettled(machine)) < than


def send(machine: Machine, count: int) -> list[bytes]:
    bodies = [make_body(number) for number in range(count)]
    with machine.network():
        assert [post(ADDRESS, body).status for body in bodies] == [200] * count
    return bodies


def wait_for_more(load: Load, count: int) -> None:
    """Wait until that many more were stored."""
    enough = load.statuses[200] + count
    wait_until(lambda: load.statuses[200] >= enough)


def test_from_a_fresh_machine_to_done_and_back(machine: Machine) -> None:
    said = machine.run(SPOOLER, "install")
    assert "wrote /etc/spooler/spooler.toml" in said
    assert "the key file /etc/spooler/keys/crm.pem doesn't exist" in said
    save_key(machine)  # and nothing else: the services have been trying
    wait_until(lambda: is_active(machine, RECEIVER) and is_active(machine, PROCESSOR))

    bodies = send(machine, 20)
    wait_until(lambda: sum(done(machine).values()) == 20)
    assert done(machine) == Counter(bodies)
    log = json.loads(next(spool(machine).glob("done/*/*.log")).read_text())
    assert log["script"] == "10-example"
    assert log["exit"] == 0
    wait_until(lambda: "20 stored, 0 refused" in machine.property(RECEIVER, "StatusText"))
    wait_until(lambda: "crm: 0 waiting, 0 running" in machine.property(PROCESSOR, "StatusText"))

    # What is refused is kept, the receiver is confined, and nothing stands in its way.
    with machine.network():
        assert post(ADDRESS, make_body(), OTHER_KEY).status == 401
    assert len(list(spool(machine).glob("rejected/*.json"))) == 1
    for word in ("not confined", "not kept", "Permission denied"):
        assert word not in machine.journal(RECEIVER)

    # A second time changes nothing.
    before = {unit: machine.property(unit, "MainPID") for unit in (RECEIVER, PROCESSOR)}
    settings = (machine.folder / "etc/spooler/spooler.toml").read_text()
    again = machine.run(SPOOLER, "install").splitlines()
    assert [line for line in again if not line.startswith(("kept", "ran systemd-", "ran systemctl"))] == []
    assert [line for line in again if "restart" in line] == []
    assert {unit: machine.property(unit, "MainPID") for unit in before} == before
    assert (machine.folder / "etc/spooler/spooler.toml").read_text() == settings

    # `check` looks as the user that the services run as.
    found = machine.call("runuser", "-u", "spooler", "--", SPOOLER, "check")
    assert found.returncode == 0, found.stdout

    # What was done stays over a restart of the machine, and all starts by itself.
    machine.power_off()
    machine.boot()
    wait_until(lambda: is_active(machine, RECEIVER) and is_active(machine, PROCESSOR))
    assert done(machine) == Counter(bodies)
    more = send(machine, 3)
    wait_until(lambda: sum(done(machine).values()) == 23)
    assert done(machine) == Counter(bodies + more)
    for unit in (RECEIVER, PROCESSOR):
        assert "Traceback" not in machine.journal(unit)

    said = machine.run(SPOOLER, "uninstall")
    assert "removed /etc/systemd/system/spooler-receiver.socket" in said
    assert not [unit for unit in UNITS if (machine.folder / "etc/systemd/system" / unit).exists()]
    assert "could not be found" in machine.call("systemctl", "status", RECEIVER).stderr
    with machine.network(), pytest.raises(ConnectionRefusedError):
        post(ADDRESS, make_body())
    assert done(machine) == Counter(bodies + more)
    assert (machine.folder / "etc/spooler/spooler.toml").read_text() == settings
    assert machine.run(SPOOLER, "uninstall").count("removed") == 0


def test_what_root_does_by_command_stays_the_services(installed: Machine) -> None:
    script = installed.folder / "etc/spooler/processors/20-fails"
    script.write_text("#!/bin/sh\nexit 65\n")
    script.chmod(0o755)
    send(installed, 2)
    wait_until(lambda: len(list(spool(installed).glob("failed/*.json"))) == 2)
    script.unlink()
    installed.run("sh", "-c", "umask 077; spooler retry --all --yes && spooler pause && spooler resume")
    wait_until(lambda: sum(done(installed).values()) == 2)
    installed.run("systemctl", "start", "spooler-prune.service")
    assert installed.property("spooler-prune.service", "Result") == "success"
    status = json.loads(installed.run("spooler", "status", "--json"))
    assert status["webhooks"]["crm"]["states"]["done"] == 2
    strangers = installed.run("find", "/var/spool/spooler", "!", "-user", "spooler")
    assert strangers == ""


def test_an_address_that_systemd_cant_hold_is_refused_before_anything_changes(installed: Machine) -> None:
    settings = installed.folder / "etc/spooler/spooler.toml"
    unit = (installed.folder / "etc/systemd/system/spooler-receiver.socket").read_text()
    listen = '[receiver]\nlisten = "spooler.example.com:8080"'
    settings.write_text(settings.read_text().replace("[receiver]", listen, 1))
    ended = installed.call("spooler", "install")
    assert ended.returncode == 1
    assert "spooler.example.com is a name; write an IP address" in ended.stderr
    assert (installed.folder / "etc/systemd/system/spooler-receiver.socket").read_text() == unit


def test_what_the_service_may_not_read_is_named(machine: Machine) -> None:
    machine.run("sh", "-c", 'umask 077; spooler() { /opt/spooler/bin/spooler "$@"; }; spooler install')
    save_key(machine)
    (machine.folder / "etc/spooler/keys/crm.pem").chmod(0o600)
    said = machine.run("spooler", "install")
    assert "not ready yet: webhook crm: /etc/spooler/keys/crm.pem" in said
    assert is_active(machine, "spooler-prune.timer")
    (machine.folder / "etc/spooler/keys/crm.pem").chmod(0o644)
    wait_until(lambda: is_active(machine, RECEIVER) and is_active(machine, PROCESSOR))


def test_a_folder_that_others_use_is_not_taken_from_them(machine: Machine) -> None:
    machine.run(SPOOLER, "install")
    settings = machine.folder / "etc/spooler/spooler.toml"
    settings.write_text(settings.read_text().replace('"/var/spool/spooler"', '"/var/spool"'))
    ended = machine.call(SPOOLER, "install")
    assert ended.returncode == 1
    assert "/var/spool isn't spooler's, and holds" in ended.stderr
    assert (machine.folder / "var/spool").stat().st_uid == 0


def test_units_are_what_systemd_expects_and_expose_little(installed: Machine) -> None:
    files = [f"/etc/systemd/system/{unit}" for unit in UNITS]
    verified = installed.call("systemd-analyze", "verify", *files)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    for unit, threshold in ((RECEIVER, 5), ("spooler-prune.service", 5), (PROCESSOR, 16)):
        exposed = installed.call(
            "systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={threshold}", unit
        )
        assert exposed.returncode == 0, exposed.stdout.splitlines()[-1]
    for unit in ("spooler-receiver.socket", RECEIVER, PROCESSOR, "spooler-prune.timer"):
        assert installed.run("systemctl", "is-enabled", unit) == "enabled\n"


def test_a_restart_under_load_refuses_and_loses_nothing(installed: Machine) -> None:
    with installed.network(), Load(ADDRESS, senders=4, pause_seconds=0.005) as load:
        while sum(load.statuses.values()) < 500:
            installed.run("systemctl", "restart", RECEIVER)
            wait_for_more(load, 60)
        installed.run("systemctl", "reload", RECEIVER)
        installed.run("systemctl", "restart", PROCESSOR)
        # An upgrade: the program is newer than what runs.
        next(
            installed.folder.glob("opt/spooler/lib/python3*/site-packages/spooler-*.dist-info/RECORD")
        ).touch()
        time.sleep(1)
        before = installed.property(RECEIVER, "MainPID")
        assert f"ran systemctl restart {RECEIVER}" in installed.run(SPOOLER, "install")
        assert installed.property(RECEIVER, "MainPID") != before
    assert set(load.statuses) == {200}
    assert load.refused == 0
    assert len(load.stored) == len(load.sent) >= 500
    wait_until_settled(installed)
    assert done(installed) == Counter(load.stored)


def test_kills_and_a_power_cut_under_load_lose_nothing_that_was_answered_with_200(installed: Machine) -> None:
    with installed.network(), Load(ADDRESS, senders=4, pause_seconds=0.01) as load:
        for unit in (RECEIVER, PROCESSOR, RECEIVER, PROCESSOR):
            process = int(installed.property(unit, "MainPID"))
            assert process > 1
            installed.run("sh", "-c", f"kill -9 {process}")
            wait_until(partial(is_started_anew, installed, unit, process))
            wait_for_more(load, 20)
    assert load.refused == 0
    installed.cut_power()
    installed.boot()
    wait_until_settled(installed)
    lost = set(load.stored) - done(installed).keys()
    assert not lost
    assert max(done(installed).values()) == 1


def is_started_anew(machine: Machine, unit: str, before: int) -> bool:
    return is_active(machine, unit) and int(machine.property(unit, "MainPID")) not in {0, before}


def test_a_program_from_elsewhere_is_put_where_services_can_run_it(machine: Machine) -> None:
    machine.run("rm", "-r", "/opt/spooler")
    machine.run("mv", "/usr/local/bin", "/usr/local/other")  # a convenience that can't be had
    machine.run("python3", "-m", "venv", "/root/trial")
    offline = ("env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels")
    machine.run(*offline, "/root/trial/bin/pip", "install", "--quiet", "spooler")
    said = machine.run(*offline, "/root/trial/bin/spooler", "install", "--prefix", "/srv/spooler")
    assert "ran /usr/bin/python3 -m venv /srv/spooler" in said
    save_key(machine)
    wait_until(lambda: is_active(machine, RECEIVER) and is_active(machine, PROCESSOR))
    body = send(machine, 1)[0]
    wait_until(lambda: body in done(machine))
    assert "/srv/spooler/bin/" in machine.run(
        "cat", f"/proc/{machine.property(PROCESSOR, 'MainPID')}/cmdline"
    )


@pytest.mark.parametrize("unit", [RECEIVER, PROCESSOR])
def test_a_service_that_hangs_is_started_again(installed: Machine, unit: str) -> None:
    drop_in = installed.folder / f"etc/systemd/system/{unit}.d"
    drop_in.mkdir()
    (drop_in / "soon.conf").write_text("[Service]\nWatchdogSec=8\n")
    installed.run("systemctl", "daemon-reload")
    installed.run("systemctl", "restart", unit)
    time.sleep(10)  # it beats: nothing happens in more than that time
    process = int(installed.property(unit, "MainPID"))
    assert installed.property(unit, "NRestarts") == "0"
    installed.run("sh", "-c", f"kill -STOP {process}")
    wait_until(lambda: is_started_anew(installed, unit, process))
    body = send(installed, 1)[0]
    wait_until(lambda: body in done(installed))


def test_a_broken_configuration_is_told_and_mended_without_a_hand_on_the_services(installed: Machine) -> None:
    settings = installed.folder / "etc/spooler/spooler.toml"
    good = settings.read_text()
    settings.write_text(good.replace("[webhook.crm]", "[webhook.crm]\nhsah = 'sha256'"))
    for unit in (RECEIVER, PROCESSOR):
        assert installed.call("systemctl", "restart", unit).returncode != 0
        assert "webhook.crm.hsah: unknown key; did you mean hash?" in installed.journal(unit)
    settings.write_text(good)
    wait_until(lambda: is_active(installed, RECEIVER) and is_active(installed, PROCESSOR))
    send(installed, 1)


def test_what_works_is_not_restarted_into_a_mistake(installed: Machine) -> None:
    settings = installed.folder / "etc/spooler/spooler.toml"
    good = settings.read_text()
    moved = good.replace("[receiver]", '[receiver]\nlisten = "127.0.0.1:8081"')
    before = {unit: installed.property(unit, "MainPID") for unit in (RECEIVER, PROCESSOR)}
    key = installed.folder / "etc/spooler/keys/crm-next.pem"
    key.write_bytes(public_pem())
    key.chmod(0o600)
    typo = ("[webhook.crm]", "[webhook.crm]\nhsah = 'sha256'")
    for wrong, status, words in (
        (good.replace(*typo), 1, "webhook.crm.hsah: unknown key"),
        (moved.replace(*typo), 1, "webhook.crm.hsah: unknown key"),
        (good.replace("crm.pem", "crm-next.pem"), 1, "crm-next.pem: can't be read by spooler"),
        (good + "[[[", 78, "is no TOML"),
    ):
        settings.write_text(wrong)
        ended = installed.call(SPOOLER, "install")
        assert ended.returncode == status, (ended.stdout, ended.stderr)
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1
        assert {unit: installed.property(unit, "MainPID") for unit in before} == before
        send(installed, 1)
    settings.write_text(good)
    assert f"ran systemctl restart {RECEIVER}" in installed.run(SPOOLER, "install")


LATE = """[Unit]
DefaultDependencies=no
Requires=late.service
After=late.service
[Mount]
What=/srv/disk
Where=/var/spool
Options=bind
[Install]
WantedBy=multi-user.target
"""


def test_nothing_is_stored_beneath_a_file_system_that_comes_late(installed: Machine) -> None:
    (installed.folder / "srv/disk").mkdir()
    installed.run("cp", "-a", "/var/spool/spooler", "/srv/disk/")
    units = installed.folder / "etc/systemd/system"
    (units / "late.service").write_text("[Service]\nType=oneshot\nExecStart=sleep 5\n")
    (units / "var-spool.mount").write_text(LATE)
    installed.run("systemctl", "enable", "var-spool.mount")
    installed.power_off()
    installed.boot()
    wait_until(lambda: is_active(installed, RECEIVER) and is_active(installed, PROCESSOR))
    mounted = int(installed.property("var-spool.mount", "ActiveEnterTimestampMonotonic"))
    for unit in (RECEIVER, PROCESSOR):
        assert 0 < mounted < int(installed.property(unit, "ExecMainStartTimestampMonotonic"))
    body = send(installed, 1)[0]
    wait_until(lambda: [*installed.folder.glob("srv/disk/spooler/crm/done/*/*.json")])
    assert body in {file.read_bytes() for file in installed.folder.glob("srv/disk/spooler/crm/done/*/*.json")}


SANDBOX = """#!/bin/sh
try() { if sh -c "$2" 2>/dev/null; then echo "$1: yes"; else echo "$1: no"; fi; }
try "write to /etc/spooler" 'touch /etc/spooler/processors/20-mine'
try "write to /opt/spooler" 'touch /opt/spooler/mine'
try "write to its folder" 'touch ./mine'
try "write to /tmp" 'touch /tmp/mine'
printf '#!/bin/sh\\nexit 0\\n' > program; chmod +x program
try "run a program from the spool" ./program
try "gain rights" 'su -c true'
try "see the receiver" 'grep -q receive /proc/[0-9]*/cmdline'
try "use the network" 'python3 -c "import socket; socket.create_connection((\\"127.0.0.1\\", 8080)).close()"'
"""


def test_a_script_may_do_what_it_needs_and_little_else(installed: Machine) -> None:
    script = installed.folder / "etc/spooler/processors/10-example"
    script.write_text(SANDBOX)
    send(installed, 1)
    wait_until(lambda: done(installed))
    log = json.loads(next(spool(installed).glob("done/*/*.log")).read_text())
    assert dict(line.split(": ") for line in log["output"].splitlines()) == {
        "write to /etc/spooler": "no",
        "write to /opt/spooler": "no",
        "write to its folder": "yes",
        "write to /tmp": "yes",
        "run a program from the spool": "no",
        "gain rights": "no",
        "see the receiver": "yes",
        "use the network": "yes",
    }


def test_a_unix_socket_and_a_spool_elsewhere_are_taken_from_the_configuration(machine: Machine) -> None:
    machine.run(SPOOLER, "install")
    settings = machine.folder / "etc/spooler/spooler.toml"
    text = settings.read_text().replace('spool = "/var/spool/spooler"', 'spool = "/srv/spool"')
    settings.write_text(text.replace("[receiver]", '[receiver]\nlisten = "unix:/run/spooler/receiver.sock"'))
    save_key(machine)
    said = machine.call(SPOOLER, "install")
    assert said.returncode == 0, said.stderr
    assert "not ready" not in said.stdout
    address = str(machine.proc("root/run/spooler/receiver.sock"))
    assert post(address, make_body()).status == 200
    assert post(address, b"{}", OTHER_KEY).status == 401
    wait_until(lambda: list(machine.folder.glob("srv/spool/crm/done/*/*.json")))
    assert os.stat(machine.folder / "srv/spool").st_mode & 0o777 == 0o750  # noqa: PTH116
