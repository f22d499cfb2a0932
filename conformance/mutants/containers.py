"""Readers of `.rq` files that skip a check, or take a name for another."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from conformance.mutants import OperationMutant
from refquant.conformance.operations import Arrays, Task, perform
from refquant.errors import FormatError, UnsupportedError

__all__ = ["MUTANTS"]


_KNOWN: dict[str, Arrays | FormatError | UnsupportedError] = {}


def _truth(task: Task) -> Arrays:
    """The right answer, which all mutants start from; it is found once a file."""
    path = task.params["file"]
    if path not in _KNOWN:
        try:
            _KNOWN[path] = perform(task)
        except (FormatError, UnsupportedError) as error:
            _KNOWN[path] = error
    found = _KNOWN[path]
    if isinstance(found, Exception):
        raise found
    return found


def _lenient(codes: frozenset[str]) -> Callable[[Task], Arrays]:
    """A reader without the checks of these codes: it goes on and gives what it has."""

    def compute(task: Task) -> Arrays:
        try:
            return _truth(task)
        except (FormatError, UnsupportedError) as error:
            if error.code in codes:
                return _something(task)
            raise

    return compute


def _something(task: Task) -> Arrays:
    return {name: np.zeros(shape, dtype) for name, (dtype, shape) in task.outputs.items()}


def _confused(codes: frozenset[str], said: str) -> Callable[[Task], Arrays]:
    """A reader that reports these defects under another code."""

    def compute(task: Task) -> Arrays:
        try:
            return _truth(task)
        except FormatError as error:
            if error.code in codes:
                raise FormatError(said, "reported under another code") from error
            raise

    return compute


def _refusing(codes: Iterable[str]) -> Callable[[Task], Arrays]:
    """A reader that takes what is allowed for a defect."""
    said = next(iter(codes))

    def compute(task: Task) -> Arrays:
        found = _truth(task)
        if "zero" in task.params["file"] or len(found["tensors"]) != 1:
            raise FormatError(said, "refused")
        return found

    return compute


def _wrong_values(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        found = {name: np.array(one) for name, one in _truth(task).items()}
        change(found)
        return found

    return compute


def _reversed(found: dict[str, np.ndarray]) -> None:
    found["tensors"] = found["tensors"][::-1]


def _no_shapes(found: dict[str, np.ndarray]) -> None:
    found["names"] = found["names"] * 0


def _no_tensors(found: dict[str, np.ndarray]) -> None:
    found["tensors"] = found["tensors"] * 0


def _no_documents(found: dict[str, np.ndarray]) -> None:
    found["documents"] = found["documents"] * 0


@dataclass(frozen=True, slots=True)
class _Lenience:
    id: str
    change: str
    codes: str


LENIENT = (
    _Lenience("no-checksums", "ignores every checksum", "E_SEG_CRC E_SEG_SHA E_TABLE_DIGEST"),
    _Lenience(
        "no-sizes", "believes lengths that the file does not have", "E_SIZE E_LENGTH E_SEG_BOUNDS"
    ),
    _Lenience(
        "any-magic",
        "takes any magic, version and reserved bytes",
        "E_MAGIC E_VERSION E_RESERVED E_PAD",
    ),
    _Lenience("unknown-features", "ignores features it does not know", "E_FEATURE E_EXT_CRITICAL"),
    _Lenience(
        "loose-msgpack", "takes any msgpack", "E_MP_MINIMAL E_MP_KEY E_MP_ORDER E_MP_TYPE E_NAME"
    ),
    _Lenience("last-key-wins", "lets the last of equal keys win", "E_MP_KEY E_MP_ORDER E_DUP"),
    _Lenience(
        "no-schema", "ignores types and unknown members", "E_SCHEMA_TYPE E_SCHEMA_UNKNOWN E_MP_TYPE"
    ),
    _Lenience(
        "truncated-header",
        "stops reading where the header ends",
        "E_MP_TRUNC E_MP_TRAIL E_SCHEMA_MISSING",
    ),
    _Lenience(
        "overlaps", "takes overlapping and shared bytes", "E_SEG_OFFSET E_DESC_OVERLAP E_SHARED"
    ),
    _Lenience(
        "holes", "takes holes, unreferenced segments and padding", "E_PAD E_UNREF E_SEG_OFFSET"
    ),
    _Lenience(
        "codes-beyond-the-edge",
        "ignores codes in the padding and beyond axes",
        "E_CODE_EDGE E_CODE_PAD E_DESC_SLICE",
    ),
    _Lenience(
        "bombs", "decompresses without a limit", "E_ZSTD_RAWMAX E_ZSTD_SIZE E_BUDGET E_LIMIT"
    ),
    _Lenience("deep", "follows any depth and number", "E_MP_DEPTH E_LIMIT E_COUNT"),
    _Lenience("dangling", "takes references to nothing", "E_REF E_PLANES E_SEG_BOUNDS"),
    _Lenience(
        "wrong-planes", "believes sizes of planes and shapes", "E_PLANE_SIZE E_SHAPE E_SEG_RAWLEN"
    ),
    _Lenience("any-utf8", "takes any bytes for text", "E_MP_UTF8 E_NAME"),
    _Lenience("any-floats", "takes floats of any width", "E_MP_FLOAT E_DESC_TABLE"),
    _Lenience(
        "any-frames",
        "takes any zstd frames",
        "E_ZSTD_MAGIC E_ZSTD_TRAIL E_ZSTD_NOGAIN E_ZSTD_RAWMAX",
    ),
    _Lenience("safetensors-ranges", "believes the ranges of tensors", "E_SAFETENSORS_RANGE"),
    _Lenience("safetensors-sizes", "believes the sizes of tensors", "E_SAFETENSORS_SIZE"),
    _Lenience(
        "safetensors-header",
        "believes the length of the header",
        "E_SAFETENSORS_TRUNCATED E_SAFETENSORS_HEADER",
    ),
    _Lenience(
        "safetensors-entries",
        "takes tensors of any type and any members",
        "E_SAFETENSORS_DTYPE E_SAFETENSORS_ENTRY",
    ),
    _Lenience("empty-things", "takes empty segments and lists", "E_SEG_EMPTY E_SCHEMA_EMPTY"),
    _Lenience("unsorted", "takes lists in any order", "E_ORDER E_MP_ORDER"),
    _Lenience("big-numbers", "lets integers and products wrap", "E_MP_INT E_SHAPE"),
    _Lenience(
        "any-kind",
        "ignores kinds, codecs and flags of segments",
        "E_SEG_KIND E_SEG_CODEC E_SEG_FLAGS E_VERSION",
    ),
)


def _container(name: str, change: str, compute: Callable[[Task], Arrays]) -> OperationMutant:
    return OperationMutant(f"container-{name}", "container", change, compute)


MUTANTS: tuple[OperationMutant, ...] = (
    *(_container(one.id, one.change, _lenient(frozenset(one.codes.split()))) for one in LENIENT),
    *(
        _container(
            f"{one.id}-misnamed",
            f"reports under another code: {one.change}",
            _confused(
                frozenset(one.codes.split()), "E_MAGIC" if "MAGIC" not in one.codes else "E_REF"
            ),
        )
        for one in LENIENT[:8]
    ),
    _container("refuses-many", "refuses files with none or several tensors", _refusing(("E_REF",))),
    _container("tensors-in-file-order", "gives tensors in another order", _wrong_values(_reversed)),
    _container("no-shapes", "loses names and shapes", _wrong_values(_no_shapes)),
    _container("no-values", "loses values", _wrong_values(_no_tensors)),
    _container("no-documents", "loses documents", _wrong_values(_no_documents)),
)
"""Every mutant of this file."""
