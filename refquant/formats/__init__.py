"""Readers and writers of files that hold models; `open_checkpoint` finds out which kind one is.

A file is known by its first bytes, a directory by what lies in it, never by a name's ending. What
reads other formats than `.rq` is imported for such a file alone: it is slow to import.
"""

import os
from pathlib import Path
from typing import Final

from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.detect import describe_foreign
from refquant.formats.rq import MAGIC as MAGIC_RQ
from refquant.formats.rq import read as read_rq

__all__ = ["Checkpoint", "Document", "TokenizerSpec", "open_checkpoint"]

MAGIC_GGUF: Final = b"GGUF"


def open_checkpoint(path: str | os.PathLike[str], *, use_mmap: bool = True) -> Checkpoint:
    """The model at `path`: a `.rq` file, a GGUF file or a Hugging Face directory.

    An address on the web is read in place, if an `.rq` file is there.

    UsageError for a path that cannot be opened, FormatError for a damaged file, UnsupportedError
    for one of another kind, with what to do instead.
    """
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        return read_rq(path)
    place = Path(path)
    if place.is_dir():
        from refquant.formats.hugging_face import open_hugging_face  # noqa: PLC0415 - see above

        return open_hugging_face(place, use_mmap=use_mmap)
    if place.exists() and not place.is_file():
        raise UsageError(f"cannot open {place}: neither a file nor a directory")
    start = _first_bytes(place)
    if start.startswith(MAGIC_RQ):
        return read_rq(place, use_mmap=use_mmap)
    if start.startswith(MAGIC_GGUF):
        from refquant.formats.gguf import open_gguf  # noqa: PLC0415 - see above

        return open_gguf(place, use_mmap=use_mmap)
    if not start:
        raise FormatError("E_EMPTY", "the file is empty", path=str(place))
    raise UnsupportedError(f"{place} is {describe_foreign(start)}")


def _first_bytes(place: Path) -> bytes:
    try:
        with place.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise UsageError(f"cannot open {place}: {error.strerror or error}") from error
