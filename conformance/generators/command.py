"""Commands that write the suite end like those of `refquant`: with one line and a status."""

import sys
from collections.abc import Callable

from refquant.errors import RefquantError

__all__ = ["status_of"]


def status_of(command: Callable[[], int]) -> int:
    """The status that a command returns, or that of an error, which is told without a traceback."""
    try:
        return command()
    except RefquantError as error:
        print(f"refquant: {error}", file=sys.stderr)
        return error.exit_status
