"""`python -m prefrl_cli`: the same as `prefrl`."""

import sys

from prefrl_cli.cli.prefrl import main

if __name__ == "__main__":
    sys.exit(main())
