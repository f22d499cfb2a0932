"""`python -m refquant` is the `refquant` command."""

import sys

from refquant.cli import main

if __name__ == "__main__":
    sys.exit(main())
