"""Questions to this machine whose answers the exact zone relies on, asked by computing.

Every probe works on arrays of an odd length, so that both the vector loop of NumPy and its scalar
tail answer. The expected value comes from binary64: for `+ - * /` and square roots of binary32
numbers, rounding the binary64 result to binary32 is the correctly rounded result, because
53 >= 2 * 24 + 2 (Figueroa, 1995).
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.library import cache_folder

__all__ = ["Probe", "probes"]

_LENGTH = 4099


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: what holds if it passed, and whether exact results need it."""

    name: str
    passed: bool
    exact_zone: bool
    detail: str = ""


def probes() -> tuple[Probe, ...]:
    """Ask everything."""
    operations = tuple(
        Probe(f"float32 {name} is rounded once, to nearest even", passed, exact_zone=True)
        for name, passed in _operations()
    )
    return (
        *operations,
        Probe("float32 subnormals are kept", _subnormals_are_kept(), exact_zone=True),
        Probe("a * b + c is not fused", _products_are_rounded(), exact_zone=True),
        Probe("float16 conversion is rounded once, to nearest even", _halves(), exact_zone=True),
        Probe("float32 matmul is exact on small integers", _integer_matmul(), exact_zone=True),
        Probe("bytes are little-endian", sys.byteorder == "little", exact_zone=True),
        _cache_probe(),
    )


def _operations() -> Iterator[tuple[str, bool]]:
    generator = np.random.default_rng(20240229)
    bits = generator.integers(0, 2**32, (2, _LENGTH), dtype=np.uint32)
    left, right = (_finite(row) for row in bits)
    # Operands close to each other, where sums cancel and ties arise.
    near = (left * np.float32(0.75)).astype(np.float32)
    binary: dict[str, tuple[np.ufunc, NDArray[np.float32]]] = {
        "addition": (np.add, near),
        "subtraction": (np.subtract, near),
        "multiplication": (np.multiply, right),
        "division": (np.divide, right),
    }
    with np.errstate(all="ignore"):
        for name, (operation, other) in binary.items():
            wide = operation(left.astype(np.float64), other.astype(np.float64))
            yield name, _same(operation(left, other), wide.astype(np.float32))
        magnitude = np.abs(left)
        yield "square root", _same(np.sqrt(magnitude), np.sqrt(magnitude, dtype=np.float64))


def _finite(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Random binary32 numbers of every magnitude, with no infinity and no NaN."""
    exponent = (bits >> 23) & 0xFF
    return np.where(exponent == 0xFF, bits ^ np.uint32(1 << 30), bits).view(np.float32)


def _same(found: NDArray[np.float32], expected: NDArray[np.floating]) -> bool:
    """Equal bits; the sign and payload of a NaN (0 / 0) are not fixed by IEEE 754."""
    narrow = expected.astype(np.float32)
    both_nan = np.isnan(found) & np.isnan(narrow)
    return bool(np.all(both_nan | (found.view(np.uint32) == narrow.view(np.uint32))))


def _subnormals_are_kept() -> bool:
    """Multiplying the smallest normal numbers down and up again gives them back."""
    smallest = np.full(_LENGTH, 2.0**-126, np.float32)
    halved = smallest * np.float32(0.5)
    tiny = np.full(_LENGTH, 1, np.uint32).view(np.float32)
    products = tiny * np.float32(1.0)
    return bool(np.all(halved + halved == smallest) and np.all(products.view(np.uint32) == 1))


def _products_are_rounded() -> bool:
    """(1 + 2^-12)^2 is 1 + 2^-11 + 2^-24: rounded it loses the last term, fused it keeps it."""
    factor = np.full(_LENGTH, 1 + 2.0**-12, np.float32)
    addend = np.full(_LENGTH, -(1 + 2.0**-11), np.float32)
    return bool(np.all(factor * factor + addend == 0))


def _halves() -> bool:
    """Every finite float16 survives the way through float32, and every midpoint goes to even."""
    halves = np.arange(0x7C00, dtype=np.uint16)
    values = halves.view(np.float16).astype(np.float32)
    middle = (values[:-1] + values[1:]) / np.float32(2)
    even = halves[:-1] + (halves[:-1] & 1)
    round_trip: bool = np.array_equal(values.astype(np.float16).view(np.uint16), halves)
    return round_trip and np.array_equal(middle.astype(np.float16).view(np.uint16), even)


def _integer_matmul() -> bool:
    """A BLAS product whose every partial sum stays below 2^24 has no rounding to do."""
    generator = np.random.default_rng(7)
    left = generator.integers(-127, 128, (67, 509)).astype(np.int64)
    right = generator.integers(-7, 8, (509, 61)).astype(np.int64)
    product = left.astype(np.float32) @ right.astype(np.float32)
    return bool(np.array_equal(product, (left @ right).astype(np.float32)))


def _cache_probe() -> Probe:
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    name = f"the cache folder can be written ({folder})"
    writable, reason = _try(lambda: tempfile.TemporaryFile(dir=existing).close())
    return Probe(name, writable, exact_zone=False, detail=reason)


def _try(action: Callable[[], None]) -> tuple[bool, str]:
    try:
        action()
    except OSError as error:
        return False, error.strerror or str(error)
    return True, ""
