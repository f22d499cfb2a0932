"""The files through which a case and an engine's answer pass.

Inputs of a case stand in one file at offsets of 64 bytes; every output has a file of its own that
exists beforehand, has the right size, and is filled with a pattern of this request alone. An engine
may put anything in their places, also what would stop or lead astray who opens it. There are two
folders, taken in turns, so that a request can be prepared while an engine works on the one before.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.conformance.dtypes import DTYPES
from refquant.conformance.packs import ALIGNMENT, Array, Case, Pack

__all__ = ["Exchange", "Request", "Written", "collected", "folder_in_memory"]

IN_MEMORY = "/dev/shm"  # noqa: S108 - the runner makes a folder of a random name in it
ROOM = 4 << 30
"""Bytes that have to be free in memory for files: several times what an engine may write."""
READING = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
"""A pipe opened so waits for no writer, and a symbolic link is an error."""

Places = tuple[Mapping[str, Any], ...]


def folder_in_memory() -> str | None:
    """A folder whose files never reach a disk; None where there is none, or another was asked for.

    A case writes and reads files of a few hundred bytes, over and over; disks are slow at that.
    """
    asked_for = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if asked_for or not os.access(IN_MEMORY, os.W_OK | os.X_OK):
        return None
    return IN_MEMORY if shutil.disk_usage(IN_MEMORY).free >= ROOM else None


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is told of a case: neither its name nor what must come out."""

    op: str
    params: Mapping[str, Any]
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    patterns: tuple[bytes, ...]
    """What the files of the outputs hold beforehand."""
    seconds: float
    folder: Path
    """Where the files are, and more may be put that belong to the case."""

    def message(self, number: int) -> dict[str, Any]:
        """The `run` message of the protocol."""
        return {
            "cmd": "run",
            "seq": number,
            "op": self.op,
            "params": dict(self.params),
            "in": list(self.inputs),
            "out": list(self.outputs),
        }


@dataclass(slots=True)
class Written:
    """What an engine left behind: arrays by name, or in `problems` why there is none."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class Exchange:
    """Folders for one request after the other; `root` is where parameters find files."""

    def __init__(self, home: Path, root: Path, seed: int) -> None:
        self.home = home
        self.root = root
        self.seed = seed
        self._count = 0
        self._folders = [home / "even", home / "odd"]
        for folder in self._folders:
            folder.mkdir()

    def prepare(self, pack: Pack, case: Case, seconds: float) -> Request:
        """Write the inputs and the patterned outputs of a case; the last request stays in place."""
        self._count += 1
        patterns = tuple(self._pattern(pack, one, k) for k, one in enumerate(case.outputs))
        folder = self._folders[self._count % 2]
        try:
            inputs, outputs = _write_files(folder, pack, case, patterns)
        except OSError:
            # An engine has put folders in the files' places, or removed theirs: use another one.
            folder = self._folders[self._count % 2] = self.home / str(self._count)
            folder.mkdir(parents=True)
            inputs, outputs = _write_files(folder, pack, case, patterns)
        params = dict(case.params)
        if isinstance(params.get("file"), str):
            params["file"] = str(self.root / str(params["file"]))
        return Request(case.op, params, inputs, outputs, patterns, seconds, folder)

    def _pattern(self, pack: Pack, array: Array, number: int) -> bytes:
        word = f"{self.seed}/{self._count}/{number}".encode()
        unit = hashlib.sha256(word).digest()
        size = _size(array)
        pattern = (unit * (size // len(unit) + 1))[:size]
        if pack.raw(array) == pattern:
            # A single byte could be right by chance.
            return bytes(255 - byte for byte in pattern)
        return pattern


def collected(request: Request, case: Case) -> Written:
    """The arrays that stand in the outputs' files now."""
    written = Written()
    for array, output, pattern in zip(case.outputs, request.outputs, request.patterns, strict=True):
        try:
            raw = _read(output["path"], len(pattern) + 1)
        except OSError as error:
            written.problems[array.name] = f"the output's file cannot be read: {error.strerror}"
            continue
        if len(raw) != len(pattern):
            state = "is longer" if len(raw) > len(pattern) else f"has {len(raw)} bytes"
            written.problems[array.name] = f"the output's file {state}, expected {len(pattern)}"
            continue
        if raw == pattern and pattern:
            written.problems[array.name] = "the output was not written"
        written.arrays[array.name] = np.frombuffer(raw, DTYPES[array.dtype]).reshape(array.shape)
    return written


def _write_files(
    folder: Path, pack: Pack, case: Case, patterns: tuple[bytes, ...]
) -> tuple[Places, Places]:
    inputs = _write_inputs(f"{folder}/in.bin", [(one, pack.raw(one)) for one in case.inputs])
    outputs = []
    for number, (array, pattern) in enumerate(zip(case.outputs, patterns, strict=True)):
        path = f"{folder}/out{number}.bin"
        _write(path, pattern)
        outputs.append({**_described(array), "path": path})
    return tuple(inputs), tuple(outputs)


def _write_inputs(path: str, arrays: list[tuple[Array, bytes]]) -> list[dict[str, Any]]:
    content, places = bytearray(), []
    for array, raw in arrays:
        content += bytes(-len(content) % ALIGNMENT)
        place = {"path": path, "off": len(content), "len": len(raw)}
        places.append(_described(array) | place)
        content += raw
    _write(path, content)
    return places


def _described(array: Array) -> dict[str, Any]:
    return {"name": array.name, "dtype": array.dtype, "shape": list(array.shape)}


def _size(array: Array) -> int:
    return prod(array.shape) * int(DTYPES[array.dtype][-1])


def _write(path: str, content: bytes | bytearray) -> None:
    """A new file, so that nothing is followed or filled that an engine put in its place."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a run does this often
    with open(path, "xb", buffering=0) as file:  # noqa: PTH123 - a run does this often
        file.write(content)


def _read(path: str, most: int) -> bytes:
    """The first bytes of a file; OSError where something else stands there, such as a pipe."""
    descriptor = os.open(path, READING)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "something else than a file stands in its place")
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)
