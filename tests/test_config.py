"""The configuration file: what it gives, and how its mistakes are told."""

import math
import os
import re
from pathlib import Path

import pytest
from conftest import KeyPair, write_config

from spooler import config
from spooler.algorithm import Algorithm
from spooler.config import Configuration, find, load, parse
from spooler.errors import ConfigurationError, Exit
from spooler.units import Duration

# The whole of what may stand in the file.
EXAMPLE = """\
spool = "/var/spool/spooler"
processors = "/etc/spooler/processors"

[receiver]
listen = "127.0.0.1:8080"        # or "unix:/run/spooler/receiver.sock"; a socket from systemd wins
workers = 2                      # processes
max_body = "1MiB"
min_free = "64MiB"
trusted_proxy = "127.0.0.1"      # or "unix"

[processor]
workers = 1
timeout = "60s"
retry_delays = ["1m", "15m", "30m", "60m"]
ordering = "contact"             # or "none"
deduplicate_for = "1d"
test_notifications = "skip"      # or "process"
environment = ["CRM_URL"]        # handed on to scripts

[retention]                      # carried out by `spooler prune`
done = "30d"
failed = "never"
rejected = "7d"

[alerts]                         # optional
smtp = "localhost:25"            # user, password_file, starttls: optional
from = "spooler@example.com"
to = ["admin@example.com"]
silence = "24h"                  # no notification for so long: the webhook may have been switched off

[webhook.crm]                    # POST /webhook/crm
public_keys = ["keys/crm.pem", "keys/crm-next.xml"]   # any of them may have signed
hash = "sha256"                  # sha1, sha256, sha384, sha512
padding = "pkcs1v15"             # or "pss"
# signature = "none"             # must be said in so many words
# client_certificates = ["<sha256 hex>"]
# processors, test_notifications, ...: what is set here overrides the general value for this webhook
"""

PATHS = 'spool = "spool"\nprocessors = "processors"\n'
UNSIGNED = '[webhook.crm]\nsignature = "none"\n'


def read(folder: Path, text: str = "", webhook: str = "") -> Configuration:
    return parse(f"{PATHS}{text}\n{UNSIGNED}{webhook}\n", folder / "spooler.toml")


def mistake(folder: Path, text: str, webhook: str = "") -> str:
    """Return what is said of a file, without the file's own name."""
    with pytest.raises(ConfigurationError) as raised:
        read(folder, text, webhook)
    said = str(raised.value)
    assert said.startswith(f"{folder}/spooler.toml")
    assert said.isprintable()
    assert raised.value.exit is Exit.CONFIGURATION
    return said.removeprefix(f"{folder}/spooler.toml").removeprefix(", ").removeprefix(": ")


def test_the_whole_example_is_read(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for name in ("crm.pem", "crm-next.xml"):
        (tmp_path / "keys" / name).touch()
    (tmp_path / "spooler.toml").write_text(EXAMPLE)
    known = load(tmp_path / "spooler.toml")
    assert known.path == tmp_path / "spooler.toml"
    assert known.spool == Path("/var/spool/spooler")
    receiver = known.receiver
    assert (str(receiver.listen), receiver.workers, receiver.trusted_proxy) == (
        "127.0.0.1:8080",
        2,
        "127.0.0.1",
    )
    assert (receiver.max_body, receiver.min_free) == (1 << 20, 64 << 20)
    processor = known.processor
    assert (processor.workers, processor.timeout, processor.deduplicate_for) == (1, 60.0, 86400.0)
    assert processor.retry_delays == (60.0, 900.0, 1800.0, 3600.0)
    assert processor.max_attempts == 5
    assert (processor.ordering, processor.test_notifications) == ("contact", "skip")
    assert processor.environment == ("CRM_URL",)
    assert (known.retention.done, known.retention.rejected) == (30 * 86400.0, 7 * 86400.0)
    assert math.isinf(known.retention.failed)
    alerts = known.alerts
    assert alerts is not None
    assert (alerts.smtp, alerts.sender, alerts.to) == (
        "localhost:25",
        "spooler@example.com",
        ("admin@example.com",),
    )
    assert (alerts.user, alerts.password_file, alerts.starttls, alerts.silence) == (
        None,
        None,
        False,
        86400.0,
    )
    (webhook,) = known.webhooks.values()
    assert (webhook.name, webhook.signed, webhook.algorithm) == ("crm", True, Algorithm("sha256", "pkcs1v15"))
    assert webhook.public_keys == (tmp_path / "keys/crm.pem", tmp_path / "keys/crm-next.xml")
    assert webhook.processors == Path("/etc/spooler/processors")
    assert webhook.client_certificates == frozenset()
    assert {getattr(webhook.processing, key) for key in ("timeout", "ordering")} == {60.0, "contact"}


def test_what_the_example_says_is_what_holds_without_it(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for name in ("crm.pem", "crm-next.xml"):
        (tmp_path / "keys" / name).touch()
    example = parse(EXAMPLE, tmp_path / "spooler.toml")
    shortest = read(tmp_path)
    assert shortest.receiver.workers == example.receiver.workers
    assert (shortest.receiver.max_body, shortest.receiver.min_free) == (
        example.receiver.max_body,
        example.receiver.min_free,
    )
    assert str(shortest.receiver.listen) == str(example.receiver.listen)
    assert shortest.receiver.trusted_proxy == example.receiver.trusted_proxy
    example.processor.environment = ()
    assert shortest.processor == example.processor
    assert shortest.retention == example.retention
    assert shortest.alerts is None
    assert shortest.webhooks["crm"].algorithm == example.webhooks["crm"].algorithm
    assert shortest.webhooks["crm"].signed is False


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "key.pem").touch()
    write_config(tmp_path / "here", key=Path("key.pem"), webhook='processors = "own"')
    monkeypatch.chdir(tmp_path)
    known = load(Path("here/spooler.toml"))
    here = tmp_path / "here"
    assert (known.path, known.spool) == (here / "spooler.toml", here / "spool")
    assert known.webhooks["crm"].public_keys == (here / "key.pem",)
    assert known.webhooks["crm"].processors == here / "own"


def test_what_a_webhook_sets_counts_for_it_alone(tmp_path: Path) -> None:
    known = read(
        tmp_path,
        '[processor]\ntimeout = "30s"\nretry_delays = ["5s"]\nenvironment = ["A"]\n',
        'timeout = "2s"\nretry_delays = []\nordering = "none"\ndeduplicate_for = "0s"\n'
        'test_notifications = "process"\nenvironment = []\n[webhook.other]\nsignature = "none"\n',
    )
    own, other = known.webhooks["crm"].processing, known.webhooks["other"].processing
    assert (own.timeout, own.retry_delays, own.environment, own.max_attempts) == (2.0, (), (), 1)
    assert (own.ordering, own.deduplicate_for, own.test_notifications) == ("none", 0.0, "process")
    assert (other.timeout, other.retry_delays, other.environment, other.max_attempts) == (
        30.0,
        (5.0,),
        ("A",),
        2,
    )
    assert (other.ordering, other.deduplicate_for, other.test_notifications) == ("contact", 86400.0, "skip")


def test_fingerprints_may_be_written_as_openssl_prints_them(tmp_path: Path) -> None:
    plain = "0123456789abcdef" * 4
    printed = ":".join(plain[place : place + 2] for place in range(0, 64, 2)).upper()
    known = read(tmp_path, webhook=f'client_certificates = ["{printed}", "{plain}"]')
    assert known.webhooks["crm"].client_certificates == {plain}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 2", "line 3: worker: unknown key; known are"),
        ("[reciever]\nworkers = 2", "line 3: reciever: unknown key; did you mean receiver?"),
        ("[webhok.erp]\nhash = 'sha1'", "line 3: webhok: unknown key; did you mean webhook?"),
        ("[receiver]\n\nworker = 2", "line 5: receiver.worker: unknown key; did you mean workers?"),
        ("[processor]\ntime_out = '1s'", "line 4: processor.time_out: unknown key; did you mean timeout?"),
        (
            "[retention]\nzzz = 1",
            "line 4: retention.zzz: unknown key; known are done, failed, rejected",
        ),
        (
            '[alerts]\nfrom = "a"\nto = ["b"]\nstart_tls = true',
            "line 6: alerts.start_tls: unknown key; did you mean starttls?",
        ),
        (
            "[receiver]\nworkers = '2'",
            "line 4: receiver.workers: expected a whole number, got a text in quotes",
        ),
        (
            "[receiver]\nworkers = true",
            "line 4: receiver.workers: expected a whole number, got true or false",
        ),
        ("[receiver]\nworkers = 0", "line 4: receiver.workers: 0 is not between 1 and 64"),
        ("[processor]\nworkers = 65", "line 4: processor.workers: 65 is not between 1 and 64"),
        ("receiver = 5", "line 3: receiver: expected a table, got a whole number"),
        ("[processor]\ntimeout = 60", "line 4: processor.timeout: 60 is no duration; write for example"),
        ('[processor]\ntimeout = "0s"', "line 4: processor.timeout: must be longer than nothing"),
        ('[processor]\ntimeout = "101y"', "line 4: processor.timeout: '101y' is no duration"),
        (
            '[processor]\ndeduplicate_for = "99999d"',
            "line 4: processor.deduplicate_for: '99999d' is longer than a hundred years",
        ),
        (
            '[processor]\nretry_delays = [\n  "1m",\n  "soon",\n]',
            "line 4: processor.retry_delays: 'soon' is no duration; write for example",
        ),
        (
            '[processor]\nretry_delays = "1m"',
            "line 4: processor.retry_delays: expected a list, got a text in quotes",
        ),
        (
            '[processor]\nordering = "Contact"',
            "line 4: processor.ordering: invalid enum value 'Contact'; it is one of contact, none",
        ),
        ('[retention]\ndone = "always"', "line 4: retention.done: 'always' is no duration"),
        ('[receiver]\nmax_body = "1MB"', "line 4: receiver.max_body: '1MB' is no size; write for example"),
        ("[receiver]\nmin_free = 1024", "line 4: receiver.min_free: 1024 is no size; write for example"),
        ('[receiver]\nmax_body = "0"', "line 4: receiver.max_body: must be at least one byte"),
        (
            '[receiver]\nmax_body = "65MiB"',
            "line 4: receiver.max_body: must be at least one byte, and at most 64",
        ),
        ('[receiver]\nlisten = "8080"', "line 4: receiver.listen: '8080' is no address; write for example"),
        ('[alerts]\nto = ["a@example.com"]', "line 3: alerts: the key from is missing"),
        (
            "[receiver\nworkers = 2",
            "is no TOML: Expected ']' at the end of a table declaration (at line 3, column 10)",
        ),
        ("receiver.worker = 2", "line 3: receiver.worker: unknown key; did you mean workers?"),
        ('"odd key" = 1', "odd key: unknown key; known are"),
    ],
)
def test_a_mistake_is_told_with_line_key_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    assert mistake(tmp_path, text).startswith(said)


@pytest.mark.parametrize(
    ("webhook", "said"),
    [
        ("hsh = 'sha1'", "line 6: webhook.crm.hsh: unknown key; did you mean hash?"),
        (
            "hash = 'md5'",
            "line 6: webhook.crm.hash: invalid enum value 'md5'; it is one of sha1, sha256, sha384, sha512",
        ),
        (
            "padding = 'oaep'",
            "line 6: webhook.crm.padding: invalid enum value 'oaep'; it is one of pkcs1v15, pss",
        ),
        ("timeout = '0s'", "line 6: webhook.crm.timeout: must be longer than nothing"),
        ("environment = ['A', '1']", "line 6: webhook.crm.environment: '1' names no variable"),
        *(
            (f"{key} = {value}", f"line 6: webhook.crm.{key}: expected {what}, got a whole number")
            for key, value, what in (
                ("environment", "5", "a list"),
                ("retry_delays", "5", "a list"),
                ("processors", "5", "a text in quotes"),
                ("ordering", "5", "a text in quotes"),
            )
        ),
        ("timeout = 'x'", "line 6: webhook.crm.timeout: 'x' is no duration"),
        (
            "ordering = 'x'",
            "line 6: webhook.crm.ordering: invalid enum value 'x'; it is one of contact, none",
        ),
        ("workers = 3", "line 6: webhook.crm.workers: unknown key"),
        ("processors = ''", "line 6: webhook.crm.processors: names no folder"),
        ("public_keys = 'a.pem'", "line 6: webhook.crm.public_keys: expected a list, got a text in quotes"),
        (
            "client_certificates = ['beef']",
            "line 6: webhook.crm.client_certificates: 'beef' is no SHA-256 fingerprint; write its 64",
        ),
        (
            "[webhook.other]",
            "line 6: webhook.other: public_keys is missing (to accept unsigned requests, say",
        ),
        ("[webhook.'a/b']\nsignature = 'none'", "line 6: webhook.a/b: a webhook's name is 1 to 64 of A-Z"),
        ("[webhook.-x]\nsignature = 'none'", "line 6: webhook.-x: a webhook's name is 1 to 64 of A-Z"),
        ("[webhook.'']\nsignature = 'none'", "line 6: webhook.: a webhook's name is 1 to 64 of A-Z"),
        ("[webhook.'..']\nsignature = 'none'", "webhook...: a webhook's name is 1 to 64 of A-Z"),
        ("[webhook.été]\nsignature = 'none'", "is no TOML"),
        (
            f"[webhook.{'x' * 65}]\nsignature = 'none'",
            f"line 6: webhook.{'x' * 65}: a webhook's name is 1 to 64",
        ),
    ],
)
def test_a_mistake_in_a_webhook_is_told_with_its_name(tmp_path: Path, webhook: str, said: str) -> None:
    assert mistake(tmp_path, "", webhook).startswith(said)


@pytest.mark.parametrize("table", ["processor", "webhook.crm"])
@pytest.mark.parametrize("name", ["", "PATH=1", "A B", "A-B", "1A", "Ä", "A\\n"])
def test_what_can_be_no_variable_s_name_is_refused(tmp_path: Path, table: str, name: str) -> None:
    text = f'environment = ["CRM_URL", "{name}"]\n'
    text = f"[{table}]\n{text}{UNSIGNED}" if table == "processor" else f"{UNSIGNED}{text}"
    with pytest.raises(ConfigurationError) as caught:
        parse(PATHS + text, tmp_path / "spooler.toml")
    said = str(caught.value)
    assert f": {table}.environment: " in said
    assert said.endswith("names no variable (A-Z a-z 0-9 _); its value is set for the service")
    assert said.isprintable()


@pytest.mark.parametrize("name", ["crm2", "CRM-2", "_x", "0", "x" * 64])
def test_ordinary_names_of_webhooks_are_taken(tmp_path: Path, name: str) -> None:
    known = read(tmp_path, webhook=f"[webhook.{name}]\nsignature = 'none'")
    assert name in known.webhooks


@pytest.mark.parametrize("text", ["", "webhook = {}\n"])
def test_a_file_without_a_webhook_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"spooler.toml: no webhook is configured; add a table like"):
        parse(PATHS + text, tmp_path / "spooler.toml")


@pytest.mark.parametrize("key", ["spool", "processors"])
def test_the_folders_must_be_named(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in (PATHS + UNSIGNED).splitlines() if not line.startswith(key))
    with pytest.raises(ConfigurationError, match=f"spooler.toml: the key {key} is missing"):
        parse(text, tmp_path / "spooler.toml")


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = mistake(tmp_path, "", "[webhook.other]\n\npublic_keys = ['keys/x.pem']")
    assert said == f"line 8: webhook.other.public_keys: the key file {tmp_path}/keys/x.pem doesn't exist"


def test_a_key_file_that_is_a_pipe_is_told_as_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pem")
    said = mistake(tmp_path, "", "[webhook.other]\npublic_keys = ['x.pem']")
    assert said.endswith(f": the key file {tmp_path}/x.pem is no regular file")


def test_a_key_file_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    name = "x" * 300
    said = mistake(tmp_path, "", f"[webhook.other]\npublic_keys = ['{name}']")
    assert said.startswith("line 7: webhook.other.public_keys: the key file ")
    assert said.endswith(f"/{name} can't be read: File name too long")


def test_a_real_key_file_is_taken(tmp_path: Path, key_pair: KeyPair) -> None:
    webhook = load(write_config(tmp_path, key=key_pair.public_pem)).webhooks["crm"]
    assert (webhook.signed, webhook.public_keys) == (True, (key_pair.public_pem,))


def test_signatures_are_asked_for_unless_the_file_says_none_in_so_many_words(tmp_path: Path) -> None:
    (tmp_path / "key.pem").touch()
    with_key = read(tmp_path, webhook="[webhook.other]\npublic_keys = ['key.pem']")
    assert {name: webhook.signed for name, webhook in with_key.webhooks.items()} == {
        "crm": False,
        "other": True,
    }


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.ENVIRONMENT_VARIABLE, raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.mark.usefixtures("_elsewhere")
def test_the_file_that_counts_is_the_named_one_then_the_variables_then_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write_config(tmp_path / "cwd")
    assert find() == here
    by_variable = tmp_path / "variable.toml"
    by_variable.write_text(here.read_text())
    monkeypatch.setenv("SPOOLER_CONFIG", str(by_variable))
    assert find() == by_variable
    named = tmp_path / "named.toml"
    named.write_text(here.read_text())
    assert find(named) == named
    assert load(Path("../named.toml")).spool == tmp_path / "cwd" / ".." / "spool"
    monkeypatch.setenv("SPOOLER_CONFIG", "")
    assert find() == here


def test_a_mark_in_front_that_some_editors_write_is_passed_over(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert list(load(path).webhooks) == ["crm"]


@pytest.mark.parametrize("key", ["spool", "processors"])
def test_a_folder_of_no_name_is_refused(tmp_path: Path, key: str) -> None:
    path = write_config(tmp_path)
    path.write_text(re.sub(rf"^{key} = .*$", f'{key} = ""', path.read_text(), flags=re.MULTILINE))
    with pytest.raises(ConfigurationError, match=rf"line \d+: {key}: names no folder$"):
        load(path)


@pytest.mark.usefixtures("_elsewhere")
def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path / "cwd")
    with pytest.raises(ConfigurationError, match=r"^gone\.toml: there is no such configuration file$"):
        find(Path("gone.toml"))
    with pytest.raises(ConfigurationError, match=r"/cwd: is no regular file$"):
        find(tmp_path / "cwd")
    monkeypatch.setenv("SPOOLER_CONFIG", "/gone/too.toml")
    with pytest.raises(ConfigurationError, match=r"^/gone/too\.toml: there is no such configuration file$"):
        find()


@pytest.mark.usefixtures("_elsewhere")
def test_where_there_is_none_the_error_says_how_to_get_one() -> None:
    if config.SYSTEM_FILE.is_file():
        assert find() == config.SYSTEM_FILE
        return
    with pytest.raises(ConfigurationError) as raised:
        find()
    assert str(raised.value) == (
        "no ./spooler.toml and no /etc/spooler/spooler.toml: "
        "name one with --config, or write one with: spooler init"
    )


def test_a_path_that_cannot_be_looked_at_is_no_crash() -> None:
    with pytest.raises(ConfigurationError, match="x: can't be read: File name too long"):
        find(Path("x" * 300))


def test_a_file_that_is_no_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "spooler.toml").write_bytes(b"spool = '\xff'")
    with pytest.raises(ConfigurationError, match=r"spooler.toml: can't be read: 'utf-8' codec can't decode"):
        load(tmp_path / "spooler.toml")


def test_values_can_be_used_as_numbers(tmp_path: Path) -> None:
    timeout = read(tmp_path, '[processor]\ntimeout = "1.5m"').processor.timeout
    assert isinstance(timeout, Duration)
    assert timeout + 1 == 91


def test_a_trusted_proxy_that_is_no_address_is_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[receiver]\ntrusted_proxy = "localhost"')
    with pytest.raises(ConfigurationError, match=r"trusted_proxy: 'localhost' is no IP address"):
        config.load(path)


MAIL = '[alerts]\nfrom = "a@example.com"\nto = ["b@example.com"]\n'


def test_metrics_are_served_on_loopback_where_the_table_stands_and_else_nowhere(tmp_path: Path) -> None:
    assert read(tmp_path).metrics is None
    for text, address in (("[metrics]", "127.0.0.1:9187"), ('[metrics]\nlisten = "[::1]:1"', "[::1]:1")):
        known = read(tmp_path, text).metrics
        assert known is not None
        assert str(known.listen) == address
    known = read(tmp_path, '[metrics]\nlisten = "unix:metrics.sock"').metrics
    assert known is not None
    assert known.listen.unix_path == str(tmp_path / "metrics.sock")


def test_a_password_file_is_beside_the_configuration_or_systemds(tmp_path: Path) -> None:
    for written, path in (
        ("smtp-password", f"{tmp_path}/smtp-password"),
        ("/etc/a", "/etc/a"),
        ("$CREDENTIALS_DIRECTORY/a", "$CREDENTIALS_DIRECTORY/a"),
    ):
        known = read(tmp_path, f'{MAIL}user = "u"\npassword_file = "{written}"').alerts
        assert known is not None
        assert known.password_file == path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{MAIL}smtp = "mail"', "alerts.smtp: 'mail' is no mail server; write for example"),
        (f'{MAIL}smtp = "unix:/a"', "alerts.smtp: 'unix:/a' is no mail server"),
        (f'{MAIL}smtp = "mail:0"', "alerts.smtp: 'mail:0' is no mail server"),
        (f'{MAIL}user = "u"', "alerts: the key password_file is missing"),
        (f'{MAIL}password_file = "p"', "alerts: the key user is missing"),
        (
            f'{MAIL}user = "\u00fc"\npassword_file = "p"',
            "alerts.user: '\\xfc' holds a character that isn't ASCII",
        ),
        (f'{MAIL}silence = "0s"', "alerts.silence: must be longer than nothing"),
        (MAIL.replace("a@", r"a\nBcc: "), "alerts.from: 'a\\nBcc: example.com' is no mail address"),
        (MAIL.replace("b@", "b <b@"), "alerts.to: 'b <b@example.com' is no mail address"),
        (MAIL.replace('["b@example.com"]', "[]"), "alerts.to: names nobody"),
        ('[metrics]\nlisten = "9187"', "metrics.listen: "),
    ],
)
def test_mistakes_about_alerts_and_metrics_are_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in mistake(tmp_path, text)
