"""What `spooler init` writes: a commented configuration, the folders that it names, an example script.

Owns: the first state of an installation.
Promises: nothing that is there already is changed.
Does not promise: a key; that is the sender's to show.
"""

from importlib.resources import files
from pathlib import Path

from spooler.config import FILE_NAME
from spooler.durable import FOLDER_MODE
from spooler.errors import SpoolerError

EXAMPLE_SCRIPT = "10-example"
_FOLDERS = ("keys", "processors")
_SPOOL = "spool"
_SCRIPT_MODE = 0o755


def write(directory: Path, *, spool: Path | None = None) -> list[Path]:
    """Write everything into `directory`, which is made if need be; return what was made.

    spool: where the spool is, if that isn't to be made in `directory`.

    Raises: SpoolerError if there is a configuration already, or something can't be written.
    """
    configuration = directory / FILE_NAME
    if configuration.exists():
        raise SpoolerError(f"{configuration}: exists already, and is left as it is; name another folder")
    try:
        folders = [directory / name for name in _FOLDERS] + ([] if spool else [directory / _SPOOL])
        made = [folder for folder in folders if not folder.exists()]
        for folder in made:
            folder.mkdir(FOLDER_MODE, parents=True)
        script = directory / "processors" / EXAMPLE_SCRIPT
        if not script.exists():
            script.write_text(_template(EXAMPLE_SCRIPT), encoding="utf-8")
            script.chmod(_SCRIPT_MODE)
            made.append(script)
        text = _template(FILE_NAME)
        if spool:
            text = text.replace(f'spool = "{_SPOOL}" ', f'spool = "{spool}" ', 1)
        configuration.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpoolerError(f"{error.filename}: can't be written: {error.strerror}") from None
    return [configuration, *made]


def _template(name: str) -> str:
    return files("spooler").joinpath("templates", name).read_text(encoding="utf-8")
