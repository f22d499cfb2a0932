"""Giving a model that is written as `.rq` the strings of its chat, and saying why it got none."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refquant.formats.checkpoint import Checkpoint

__all__ = ["with_told_chat"]


def with_told_chat(checkpoint: "Checkpoint", *, quiet: bool = False) -> "Checkpoint":
    """The checkpoint with its chat as strings, taken from its template and checked against it."""
    from refquant.formats.chat_derive import with_chat

    found, note = with_chat(checkpoint)
    if note and not quiet:
        print(f"refquant: {note}", file=sys.stderr)
    return found
