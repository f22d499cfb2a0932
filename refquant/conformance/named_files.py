"""The files that cases name, such as containers and models, checked against their digests.

A file that was damaged on the way here, or by the engine that is being run, would have the engine
blamed for rejecting it.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from refquant.conformance.packs import Pack

__all__ = ["damaged_files"]


def damaged_files(root: Path, packs: Sequence[Pack]) -> list[str]:
    """The paths, below the suite's folder, of files that are not those that cases were made for."""
    digests = {
        str(case.params["file"]): case.params["sha256"]
        for pack in packs
        for case in pack.cases
        if "file" in case.params
    }
    return [path for path, digest in digests.items() if _digest(root / path) != digest]


def _digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; nothing where it cannot be read."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
