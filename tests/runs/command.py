"""``evojax-mtl`` with the fake search: ``python -m tests.runs.command ARGUMENTS``."""

import sys

from tests.runs import fake

if __name__ == "__main__":
    fake.install()
    from evojax_mtl.cli import main

    sys.exit(main())
