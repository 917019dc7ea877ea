"""Let `python -m spooler` be the `spooler` command."""

import sys

from spooler.cli import main

if __name__ == "__main__":
    sys.exit(main())
