"""Python's search for garbage, kept out of the way where there is none to find.

Each search looks through all objects that are younger than the last one. While modules are
imported everything stays, and at the end everything goes anyway: for a short command the searches
are a tenth of its time.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["none_at_the_end", "none_while_importing"]


@contextmanager
def none_while_importing() -> Iterator[None]:
    """No search until the end of the block, if there was one to expect."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def none_at_the_end() -> None:
    """Let the interpreter end without looking through all that it is about to leave."""
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
