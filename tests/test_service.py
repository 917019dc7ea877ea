"""The services as an administrator runs them: real processes, from the first byte to the last signal."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from running_service import (
    HOST,
    OTHER_KEY,
    PATIENCE_SECONDS,
    Address,
    Headers,
    Load,
    Service,
    Site,
    children_of,
    command_line,
    connect,
    head,
    is_alive,
    is_listening,
    make_body,
    make_site,
    post,
    public_pem,
    read_all,
    request,
    run_to_the_end,
    running,
    status_of,
    wait_until,
)

from spooler.keys import parse_key
from spooler.signature import HEADER

Ending = subprocess.CompletedProcess[str]
VECTORS = sorted(path for path in (Path(__file__).parent / "vectors").iterdir() if path.is_dir())


# Where the parent ignores its children and has an open umask, nothing of that is handed down.
CARELESS = ["sh", "-c", "trap '' CHLD; umask 0; exec \"$@\"", "sh"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`spooler run`, with a webhook for each of the vectors and for each status of a script."""
    tables = [
        f'[webhook.{vector.name}]\npublic_keys = ["{next(vector.glob("public.*"))}"]\n'
        f'hash = "{(vector / "hash.txt").read_text().strip()}"'
        for vector in VECTORS
    ]
    processor = 'test_notifications = "process"'  # one of the vectors is a test
    root = tmp_path_factory.mktemp("whole") / "site"
    site = make_site(root, processor=processor, webhooks="\n".join(tables))
    got = site.root / "got"
    got.mkdir()
    site.script(f'#!/bin/sh\ncat > "{got}/$SPOOLER_ID"\n[ "$SPOOLER_TYPE" != hopeless ] || exit 65\n')
    with running(site, wrapper=CARELESS) as service:
        yield service
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 5  # nobody waits for an idle service to end
    assert service.log().count('event="processor ended"') == 1
    assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def receiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`spooler receive` with three workers."""
    receiver = 'workers = 3\nmax_body = "10KiB"'
    with running(
        make_site(tmp_path_factory.mktemp("receiving") / "site", receiver=receiver), "receive"
    ) as service:
        yield service
        assert service.stop() == 0
    assert "Traceback" not in service.log()


# From the sender to the script


def curl(address: Address, path: str, body: Path, headers: Headers) -> int:
    """Post a file as it is, and return the status."""
    assert isinstance(address, tuple)
    written = [argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}")]
    url = f"http://{address[0]}:{address[1]}{path}"
    arguments = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", f"@{body}", *written, url]
    ended = subprocess.run(["curl", *arguments], capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    return int(ended.stdout)


def deliver(address: Address, path: str, body: Path, headers: Headers) -> int:
    if shutil.which("curl"):
        return curl(address, path, body, headers)
    return request(address, body.read_bytes(), headers, path=path).status


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_what_other_platforms_have_signed_gets_to_the_script_byte_for_byte(
    whole: Service, vector: Path
) -> None:
    site, body = whole.site, (vector / "body.json").read_bytes()
    headers = {HEADER: (vector / "signature.txt").read_text().strip()}
    assert deliver(whole.address, f"/webhook/{vector.name}", vector / "body.json", headers) == 200
    assert deliver(whole.address, "/webhook/crm", vector / "body.json", headers) == 401
    wait_until(partial(site.files, "done", vector.name))
    assert [file.read_bytes() for file in site.files("done", vector.name)] == [body]
    assert (site.root / "got" / json.loads(body)["EventUniqueID"]).read_bytes() == body
    assert [site.files(state, vector.name) for state in ("incoming", "processing", "rejected")] == [[]] * 3


def test_there_are_vectors() -> None:
    assert {path.name.split("-")[0] for path in VECTORS} == {"dotnet", "php"}


def test_a_scripts_status_is_learned_whatever_the_parent_does_with_its_children(whole: Service) -> None:
    body = make_body(type_="hopeless")
    assert post(whole.address, body).status == 200
    wait_until(partial(whole.site.files, "failed"))
    assert [file.read_bytes() for file in whole.site.files("failed")] == [body]
    assert '"exit": 65' in whole.site.files("failed")[0].with_suffix(".log").read_text()


def test_files_are_for_the_services_user_and_group_whatever_the_umask(whole: Service) -> None:
    assert post(whole.address, make_body(), OTHER_KEY).status == 401
    assert post(whole.address, make_body()).status == 200
    wait_until(lambda: whole.site.files("done") and not whole.site.files("processing"))
    assert whole.site.files("rejected")
    for path in whole.site.spool.rglob("*"):
        folders_mode = 0o700 if path.name.startswith(".work-") else 0o750  # the scripts' is nobody else's
        assert path.stat().st_mode & 0o777 == (folders_mode if path.is_dir() else 0o640), path


def test_a_second_receiver_on_the_port_and_a_second_processor_on_the_spool_are_refused(
    whole: Service,
) -> None:
    assert isinstance(whole.address, tuple)
    fixed = Site(whole.site.root)
    original = fixed.config_file.read_text()
    fix_port(fixed, whole)
    try:
        with ThreadPoolExecutor() as pool:
            receive, process, run = pool.map(partial(run_to_the_end, fixed), ("receive", "process", "run"))
    finally:
        fixed.config_file.write_text(original)
    assert (receive.returncode, process.returncode, run.returncode) == (78, 1, 1)
    assert_one_line(receive, f"{HOST}:{whole.address[1]}: Address already in use")
    for ended in (process, run):
        assert_one_line(ended, f"{fixed.spool}: another processor works on this spool")
    assert post(whole.address, make_body()).status == 200


# The receiver's workers


def test_the_status_of_each_kind_of_request(receiving: Service) -> None:
    large, body = make_body(size=10241), make_body()
    statuses = {
        "good": post(receiving.address, body).status,
        "forged": post(receiving.address, body, OTHER_KEY).status,
        "unsigned": request(receiving.address, body).status,
        "elsewhere": post(receiving.address, body, webhook="other").status,
        "read": request(receiving.address, method="GET").status,
        "large": post(receiving.address, large).status,
        "long": request(receiving.address, body, {"X-Note": "a" * 17000}).status,
        "health": request(receiving.address, method="GET", path="/healthz").status,
    }
    assert list(statuses.values()) == [200, 401, 401, 404, 405, 413, 431, 200]
    assert body in [file.read_bytes() for file in receiving.site.files("incoming")]
    assert [file.read_bytes() for file in receiving.site.files("rejected")] == [body]


def test_keys_are_read_again_when_asked_to_and_when_they_change(receiving: Service) -> None:
    site, body = receiving.site, make_body()
    try:
        site.key_file.write_bytes(public_pem(OTHER_KEY))
        loaded = receiving.log().count("key loaded")
        receiving.process.send_signal(signal.SIGHUP)
        receiving.wait_for("key loaded", loaded + 3)  # by each worker, before any request
        assert {post(receiving.address, body, OTHER_KEY).status for _ in range(10)} == {200}
        assert post(receiving.address, body).status == 401
        site.key_file.write_bytes(public_pem())
        wait_until(lambda: post(receiving.address, body).status == 200)
        receiving.wait_for("key loaded", loaded + 6)
        assert post(receiving.address, body, OTHER_KEY).status == 401
        site.key_file.write_bytes(b"-----BEGIN PUBLIC KEY-----\nbroken")
        assert {post(receiving.address, body).status for _ in range(10)} == {200}
        receiving.wait_for(f'level=error event="key kept" file={site.key_file} reason=')
    finally:
        site.key_file.write_bytes(public_pem())


def test_workers_share_a_socket_and_one_that_is_killed_is_started_again(receiving: Service) -> None:
    wait_until(lambda: len(receiving.children()) == 3)
    workers = set(receiving.children())
    assert {accepts(receiving, worker) for worker in workers} == {True}
    killed = workers.pop()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in receiving.children())
    assert post(receiving.address, make_body()).status == 200
    wait_until(lambda: len(receiving.children()) == 3)
    (new,) = set(receiving.children()) - workers
    assert accepts(receiving, new)
    assert 'event="process ended" process=receiver-' in receiving.log()


@pytest.mark.parametrize(
    "damage", [b"", b"-----BEGIN PUBLIC KEY-----\nbroken", None], ids=["emptied", "damaged", "removed"]
)
def test_a_worker_that_is_started_again_goes_on_with_the_last_good_key(
    tmp_path: Path, damage: bytes | None
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 2")
    with running(site, "receive") as service:
        wait_until(lambda: len(service.children()) == 2)
        begun = set(service.children())
        site.key_file.write_bytes(public_pem(OTHER_KEY))
        service.process.send_signal(signal.SIGHUP)
        service.wait_for("key loaded", 3)  # at the start, and by each worker
        if damage is None:
            site.key_file.unlink()
        else:
            site.key_file.write_bytes(damage)
        for worker in begun:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: len(set(service.children()) - begun) == 2)
        assert {post(service.address, make_body(), OTHER_KEY).status for _ in range(10)} == {200}
        assert {post(service.address, make_body()).status for _ in range(10)} == {401}
        kept = parse_key(public_pem(OTHER_KEY), "").fingerprint
        service.wait_for(f" fingerprint={kept}", 4)  # loaded by two, and kept by the two that came after
        assert service.log().count("key loaded") == 3  # the parent says nothing of what the workers tell
        assert service.stop() == 0


def accepts(service: Service, worker: int) -> bool:
    """Say whether a worker takes connections, by leaving it alone with them for a while."""
    others = [other for other in service.children() if other != worker]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        wait_until(lambda: all(map(is_stopped, others)))
        return post(service.address, make_body()).status == 200
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def is_stopped(process: int) -> bool:
    threads = Path(f"/proc/{process}/task").glob("*/stat")
    return {thread.read_text().rpartition(") ")[2][0] for thread in threads} == {"T"}


# The orderly end


@pytest.mark.parametrize(("command", "family"), [("run", "tcp"), ("receive", "unix")])
def test_on_sigterm_what_was_accepted_is_answered_and_what_was_answered_is_there(
    tmp_path: Path, command: str, family: str
) -> None:
    listen = 'listen = "unix:receiver.sock"\n' if family == "unix" else ""
    site = make_site(tmp_path / "site", receiver=f"{listen}workers = 2")
    slow = [make_body(number) for number in range(12)]
    with running(site, command) as service, contextlib.ExitStack() as connections:
        halfway = [connections.enter_context(connect(service.address)) for _ in slow]
        for connection, body in zip(halfway, slow, strict=True):
            connection.sendall((head(body) + body)[:-30])
        with Load(service.address) as load:
            wait_until(lambda: load.statuses[200] > 40)
            service.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_listening(service.address))
            for connection, body in zip(halfway, slow, strict=True):
                connection.sendall(body[-30:])
                assert status_of(read_all(connection)) == 200
            assert service.process.wait(PATIENCE_SECONDS) == 0
        on_disk = Counter(file.read_bytes() for state in ("incoming", "done") for file in site.files(state))
        assert on_disk == Counter([*slow, *load.stored])
        assert load.statuses.keys() <= {0, 200}
        assert [path for path in site.all_files() if path.name.startswith(".")] == []
    assert "Traceback" not in service.log()


def test_a_service_that_is_just_ready_ends_in_order_too(tmp_path: Path) -> None:
    with running(make_site(tmp_path / "site"), "receive") as service:
        assert service.stop() == 0


# Sudden ends


def test_when_the_parent_is_killed_all_end_and_a_new_start_works_on_the_same_port(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with running(site) as service:
        wait_until(lambda: len(service.children()) == 3)
        children = service.children()
        assert post(service.address, make_body()).status == 200
        fix_port(site, service)
        service.process.kill()
        service.process.wait()
        wait_until(lambda: not any(is_alive(child) for child in children), "the children end")
    with running(site) as again:
        assert again.address == service.address
        assert post(again.address, make_body()).status == 200
        wait_until(lambda: len(site.files("done")) == 2)
        assert again.stop() == 0


def test_a_script_that_takes_long_keeps_neither_the_port_nor_the_senders_waiting(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    go_on = site.root / "go-on"
    site.script(f'#!/bin/sh\nuntil [ -e "{go_on}" ]; do sleep 0.05; done\n')
    with running(site) as service:
        assert post(service.address, make_body()).status == 200
        wait_until(lambda: site.files("processing"))
        fix_port(site, service)
        service.process.kill()
        service.process.wait()
        wait_until(lambda: not is_listening(service.address), "the port is free")
        with running(site, "receive") as again:  # while the script still runs
            assert again.address == service.address
            assert post(again.address, make_body()).status == 200
            assert len(site.files("processing")) == 1
        go_on.touch()
        wait_until(lambda: len(site.files("done")) == 1, "the orphaned processor ends its work in order")


def fix_port(site: Site, service: Service) -> None:
    """Let the next start listen where this one does."""
    written = site.config_file.read_text()
    site.config_file.write_text(written.replace(f"{HOST}:0", f"{HOST}:{service.address[1]}"))


# Surroundings


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("commands", [["run"], ["receive", "process"]])
def test_without_standard_error_all_is_done_and_nothing_is_logged(
    tmp_path: Path, commands: list[str], closed: str
) -> None:
    site = make_site(tmp_path / "site", receiver='listen = "unix:receiver.sock"')
    path = str(site.root / "receiver.sock")
    site.script("#!/bin/sh\necho to nobody >&2\ncat >&2\nexit 0\n")
    services = [
        subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command_line(site, command)],
            cwd=site.root,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        wait_until(lambda: Path(path).is_socket() and is_listening(path))
        body = make_body()
        assert post(path, body).status == 200
        wait_until(lambda: [file for file in site.files("done") if file.with_suffix(".log").exists()])
        (log,) = [path.with_suffix(".log") for path in site.files("done")]
        assert json.loads(log.read_text())["output"] == f"to nobody\n{body.decode()}"
        for service in services:
            for process in (service.pid, *children_of(service.pid)):
                assert Path(f"/proc/{process}/fd/2").readlink() == Path(os.devnull)
        for service in services:
            service.terminate()
        assert [service.wait(PATIENCE_SECONDS) for service in services] == [0] * len(services)
    finally:
        for service in services:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(service.pid, signal.SIGKILL)
            service.wait(PATIENCE_SECONDS)


def test_a_log_that_cant_be_written_keeps_nothing_from_being_stored_and_processed(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver='listen = "unix:receiver.sock"')
    path = str(site.root / "receiver.sock")
    # Its own standard error, where the harness looks for it, ends with the first lines.
    with running(
        site, wrapper=["sh", "-c", 'echo "receiver ready processor ready" >&2; exec "$@" 2> /dev/full', "sh"]
    ):
        wait_until(lambda: Path(path).is_socket() and is_listening(path))
        assert [post(path, make_body()).status for _ in range(5)] == [200] * 5
        assert request(path, b"{}", {HEADER: "%"}).status == 401
        wait_until(lambda: len(site.files("done")) == 5)


# Mistakes


def break_configuration(site: Site, old: str, new: str) -> None:
    text = site.config_file.read_text()
    assert old in text
    site.config_file.write_text(text.replace(old, new))


def unknown_key(site: Site) -> str:
    break_configuration(site, "[receiver]", "[receiver]\nwrokers = 3")
    return "receiver.wrokers"


def missing_key_file(site: Site) -> str:
    site.key_file.unlink()
    return "crm.pem"


def unusable_key_file(site: Site) -> str:
    site.key_file.write_bytes(b"<html>")
    return "crm.pem"


def bad_duration(site: Site) -> str:
    break_configuration(site, "[processor]", '[processor]\ntimeout = "soon"')
    return "processor.timeout"


def bad_address(site: Site) -> str:
    break_configuration(site, f'"{HOST}:0"', '"everywhere"')
    return "receiver.listen"


def strange_host(site: Site) -> str:
    break_configuration(site, f'"{HOST}:0"', '"no..such.host:80"')
    return "receiver.listen"


def no_configuration(site: Site) -> str:
    site.config_file.unlink()
    return "spooler.toml"


def file_for_spool(site: Site) -> str:
    site.spool.write_text("in the way")
    return str(site.spool)


def file_for_incoming(site: Site) -> str:
    site.folder("incoming").parent.mkdir(parents=True)
    site.folder("incoming").write_text("in the way")
    return str(site.folder("incoming"))


def file_for_failed(site: Site) -> str:
    site.folder("failed").parent.mkdir(parents=True)
    site.folder("failed").write_text("in the way")
    return str(site.folder("failed"))


MISTAKES: dict[str, tuple[str, Callable[[Site], str]]] = {
    "an unknown key": ("run", unknown_key),
    "a missing key file": ("receive", missing_key_file),
    "an unusable key file": ("run", unusable_key_file),
    "a bad duration": ("process", bad_duration),
    "a bad address": ("run", bad_address),
    "a strange host": ("receive", strange_host),
    "no configuration": ("run", no_configuration),
    "a file in the place of the spool": ("run", file_for_spool),
    "a file in the place of the spool, seen by the processor": ("process", file_for_spool),
    "a file in the place of incoming": ("receive", file_for_incoming),
    "a file in the place of failed": ("run", file_for_failed),
}


@pytest.mark.parametrize(("command", "mistake"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_configuration_is_one_line_that_names_the_culprit(
    tmp_path: Path, command: str, mistake: Callable[[Site], str]
) -> None:
    site = make_site(tmp_path / "site")
    culprit = mistake(site)
    ended = run_to_the_end(site, command)
    assert ended.returncode == 78
    assert_one_line(ended, culprit)


def assert_one_line(ended: Ending, culprit: str) -> None:
    lines = [line for line in ended.stderr.splitlines() if "level=info" not in line]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("spooler: ")
    assert culprit in lines[0]
    assert ended.stdout == ""


def test_a_processor_alone_works_through_what_a_receiver_alone_has_stored(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with running(site, "receive") as receiver, running(site, "process") as processor:
        replies = [post(receiver.address, make_body(number)) for number in range(5)]
        assert {reply.status for reply in replies} == {200}
        wait_until(lambda: len(site.files("done")) == 5)
        assert processor.stop() == 0
        assert post(receiver.address, make_body()).status == 200
        assert receiver.stop() == 0
    assert len(site.files("incoming")) == 1


def test_the_receiver_can_write_to_its_own_folders_only_and_finds_them_when_they_are_replaced(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    with running(site, "receive") as service:
        assert post(service.address, make_body(1)).status == 200
        kept = site.folder("incoming").rename(tmp_path / "kept")
        assert post(service.address, make_body(2)).status == 503
        site.folder("incoming").mkdir()
        if "not confined" not in service.log():
            service.wait_for("beginning anew")
        wait_until(lambda: post(service.address, make_body(3)).status == 200)
        assert service.stop() == 0
    assert len(list(kept.glob("*.json"))) == 1
    assert len(site.files("incoming")) == 1
