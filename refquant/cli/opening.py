"""A model opened to write text, its file's texts checked while its weights are loaded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from refquant.cli.checked import checked_meanwhile
from refquant.cli.progress import status
from refquant.errors import UnsupportedError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint

__all__ = ["loading", "opened", "without_collecting"]


@contextmanager
def loading(name: Path | str) -> Iterator[None]:
    """Show that a model is being loaded."""
    with without_collecting(), status(f"loading {name}"):
        yield


@contextmanager
def without_collecting() -> Iterator[None]:
    """Look for no garbage meanwhile.

    What importing and loading make stays for the most part, and going through it time and again to
    find garbage took a seventh of the time to the first token.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def opened(path: Path | str) -> Iterator["Checkpoint"]:
    """A model that can read text and run; when the `with` ends it has been checked."""
    from refquant.formats import open_checkpoint
    from refquant.formats.rq.read import StoredDocuments

    checkpoint = open_checkpoint(path)
    checkpoint.need_architecture()
    if checkpoint.tokenizer is None:
        raise UnsupportedError(f"{path} holds no tokenizer, so it cannot read a prompt")
    if not isinstance(checkpoint.documents, StoredDocuments):
        yield checkpoint
        return
    with checked_meanwhile(checkpoint):
        yield checkpoint
