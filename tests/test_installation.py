"""What `spooler install` says it would do, and what it refuses; what it does is tested on a real systemd."""

import os
import shutil
import subprocess
import sys
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import pytest
from conftest import tree

from spooler import config, installation, site
from spooler.errors import SpoolerError
from spooler.installation import Installer

systemd_is_there = pytest.mark.skipif(not shutil.which("systemctl"), reason="needs systemctl")
nothing_is_configured = pytest.mark.skipif(
    config.SYSTEM_FILE.exists(), reason=f"{config.SYSTEM_FILE} exists and may say otherwise"
)
Ending = subprocess.CompletedProcess[str]


def spooler(*arguments: str, path: str = "") -> Ending:
    environment = os.environ | ({"PATH": path} if path else {})
    command = [sys.executable, "-m", "spooler", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment, cwd="/", check=False
    )


@systemd_is_there
@nothing_is_configured
def test_a_dry_run_tells_every_step_and_makes_none(tmp_path: Path) -> None:
    prefix = Path("/srv") / tmp_path.name
    ended = spooler("install", "--dry-run", "--prefix", str(prefix))
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert f"-m venv {prefix}" in lines[0]
    for unit in installation.UNITS:
        assert f"would write /etc/systemd/system/{unit}" in lines
    assert "would write /etc/spooler/spooler.toml and an example script" in lines
    assert not prefix.exists()
    assert not config.SYSTEM_FILE.exists()
    assert not any((Path("/etc/systemd/system") / unit).exists() for unit in installation.UNITS)


@systemd_is_there
@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("/home/me/spooler", "services can't reach /home/me/spooler"),
        ("/tmp/spooler", "services can't reach"),
        ("/opt/my spooler", "holds a blank"),
        ("/opt/100%", "holds a blank, quote, %"),
    ],
)
def test_a_place_that_services_cant_use_is_refused(prefix: str, words: str) -> None:
    ended = spooler("install", "--dry-run", "--prefix", prefix)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("spooler: --prefix: ")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


@systemd_is_there
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_only_root_may_do_it(verb: str) -> None:
    with get_context("fork").Pool(1) as pool:
        assert pool.apply(as_nobody, (verb,)) == (
            "only root may do this: use sudo, or --dry-run to see what would be done"
        )


def as_nobody(verb: str) -> str:
    os.setuid(65534)
    try:
        getattr(Installer(site.PREFIX, print, dry_run=False), verb)()
    except SpoolerError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_without_systemd_it_says_so(command: str, tmp_path: Path) -> None:
    ended = spooler(command, path=str(tmp_path))
    assert ended.returncode == 1
    assert (
        ended.stderr
        == "spooler: there is no systemd here (no systemctl): use `spooler run` with what there is\n"
    )


def test_what_is_shipped_is_what_stands_in_the_folder_of_units() -> None:
    shipped = files("spooler").joinpath("systemd")
    assert set(installation.UNITS) <= {path.name for path in shipped.iterdir()}
    source = Path(__file__).parent.parent / "systemd"
    if source.exists():
        assert tree(source) == tree(Path(str(shipped)))
