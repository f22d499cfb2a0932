"""The probable mistake of a decoder: which known wrong reading gives its very output.

The wrong readings are derived from the scheme's declaration: bits taken in another order or
place, signs and offsets misunderstood, scales inverted, shifted or exchanged, arithmetic done in
another precision. Each has been shipped by somebody.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.tensor import QuantizedTensor
from refquant.testing import wrong_formulas, wrong_numbers, wrong_places
from refquant.testing.reading import Suspect, read
from refquant.testing.wrong_operators import wrong_operators, wrong_vectors

__all__ = ["Mistake", "probable_mistake"]

F32 = NDArray[np.float32]

ENOUGH = 0.9
"""The share of values that a reading must explain before it is named."""

NEARNESS = 2.0**-9
"""Relative to the largest value: what outputs in half precision still explain."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong reading in words, and the share of the values that it explains."""

    sentence: str
    share: float
    exact: bool

    def __str__(self) -> str:
        if self.share == 1.0:
            how = "this gives every value" + ("" if self.exact else ", to half precision")
        else:
            how = f"this explains {self.share:.0%} of the values"
        return f"{self.sentence} ({how})"


def probable_mistake(actual: F32, tensor: QuantizedTensor) -> Mistake | None:
    """The known mistake whose values are nearest to `actual`, or None where none comes near.

    `tensor` holds the bytes that were decoded; `actual` is what came out, of its shape.
    """
    expected = tensor.dequantize()
    with np.errstate(all="ignore"):
        if tensor.scheme.operators:
            found = _nearest(actual, expected, wrong_operators(tensor))
            if found is not None:
                return found
            actual, tensor = tensor.arranged(actual), tensor.expanded
            expected = tensor.dequantize()
        return _nearest(actual, expected, _suspects(tensor, expected))


def _nearest(actual: F32, expected: F32, suspects: Iterator[Suspect]) -> Mistake | None:
    best: Mistake | None = None
    coarse: Mistake | None = None
    least = max(_share(actual, expected), ENOUGH)
    for sentence, make in suspects:
        values = np.ascontiguousarray(make(), np.float32)
        share = _share(actual, values)
        if share == 1.0:
            return Mistake(sentence, 1.0, exact=True)
        if share > least:
            best, least = Mistake(sentence, share, exact=True), share
        if coarse is None and _near(actual, values) and not _near(actual, expected):
            coarse = Mistake(sentence, 1.0, exact=False)
    return best or coarse


def same_bits(left: F32, right: F32) -> NDArray[np.bool_]:
    """Which elements are the same bits, or both NaN."""
    equal = left.view(np.uint32) == right.view(np.uint32)
    return np.asarray(equal | (np.isnan(left) & np.isnan(right)))


def _share(actual: F32, values: F32) -> float:
    return float(same_bits(actual, values).mean())


def _near(actual: F32, values: F32) -> bool:
    with np.errstate(all="ignore"):
        finite = np.isfinite(values)
        if not finite.any() or not (np.isfinite(actual) == finite).all():
            return False
        limit = NEARNESS * np.abs(values[finite].astype(np.float64)).max()
        return bool((np.abs(actual.astype(np.float64) - values)[finite] <= limit).all())


def _suspects(tensor: QuantizedTensor, expected: F32) -> Iterator[Suspect]:
    """Wrong readings, those first that people ship most often."""
    right = read(tensor)
    yield from wrong_places.wrong_orders(tensor, right)
    yield from wrong_numbers.wrong_signs(right)
    yield from wrong_numbers.wrong_offsets(right)
    yield from wrong_numbers.wrong_scales(tensor, right)
    yield from wrong_places.wrong_headers(tensor, right)
    yield from wrong_places.wrong_sides(tensor, right)
    yield from wrong_formulas.wrong_formulas(right)
    yield from wrong_vectors(right)
    yield from wrong_numbers.wrong_exchanges(right)
    yield from wrong_numbers.wrong_floats(right)
    yield from wrong_numbers.wrong_tables(right)
    yield from wrong_numbers.wrong_tensors(tensor, expected)
    yield from wrong_numbers.wrong_arithmetic(right, expected)
