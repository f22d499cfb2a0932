"""Where a command writes: what must hold before the work begins, sizes, and what went wrong."""

import os
import re
import shutil
from decimal import Decimal
from pathlib import Path

from refquant.cli.output import format_bytes
from refquant.errors import LimitError, UsageError

__all__ = ["check_output", "check_room", "explained", "parse_bytes"]

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGT]?)(i?)B?")


def check_output(output: Path, sources: list[Path]) -> None:
    """Refuse, before any work, an output that could not be written at its end, or that is read."""
    if output.is_dir():
        raise UsageError(f"cannot write {output}: it is a folder; name a file in it")
    if output.exists() and not output.is_file():
        raise UsageError(f"cannot write {output}: it is a device or pipe, not a file")
    folder = output.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {output}: no permission to make files in {folder}")
    if output.exists() and any(one.exists() and output.samefile(one) for one in sources):
        raise UsageError(f"cannot write {output}: it is the source; choose another name")


def check_room(output: Path, nbytes: int) -> None:
    """Refuse to begin what does not fit on the disk."""
    free = shutil.disk_usage(output.parent).free
    if nbytes > free:
        raise LimitError(
            f"writing {output} takes {format_bytes(nbytes)}, and only {format_bytes(free)} are free"
        )


def explained(error: OSError, output: Path) -> OSError:
    """The same error with the file's name, for the operating system tells only a number."""
    kept = "; what was there is as it was" if output.exists() else ""
    return OSError(error.errno, f"{error.strerror}{kept}", str(output))


def parse_bytes(text: str, option: str = "") -> int:
    """A size as people write it: `2GB` is 2 000 000 000 bytes, `2GiB` 2 147 483 648."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        given = f"{option} {text!r}".lstrip()
        raise UsageError(f"{given} is no size; expected a number of bytes such as 500MB or 2GiB")
    power = "kMGT".index("k" if found[2] == "K" else found[2]) + 1 if found[2] else 0
    return int(Decimal(found[1]) * (1024 if found[3] else 1000) ** power)
