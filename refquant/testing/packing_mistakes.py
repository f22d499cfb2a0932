"""The probable mistake of an encoder: right codes packed wrongly, or codes off by a rounding."""

import numpy as np

from refquant.layout import Digits, Minifloat, field_codes
from refquant.tensor import QuantizedTensor
from refquant.testing.reading import codes_at, read
from refquant.testing.shapes import code_fields
from refquant.testing.wrong_places import orders

__all__ = ["probable_packing_mistake"]


def probable_packing_mistake(actual: QuantizedTensor, expected: QuantizedTensor) -> str | None:
    """What would make an encoder write `actual` where `expected` is right, in words."""
    right = read(expected)
    for name, field in expected.layout.fields.items():
        if (
            isinstance(field.element, Digits)
            or (read(actual).codes[name] == right.codes[name]).all()
        ):
            continue
        for sentence, places in orders(name, field):
            if (codes_at(actual, name, places) == right.codes[name]).all():
                return f"{sentence} (this reading finds every code)"
    return _rounding(actual, expected)


def _rounding(actual: QuantizedTensor, expected: QuantizedTensor) -> str | None:
    """Whether scales or codes differ by one step only."""
    differing, largest = [], 0
    for name, field in expected.layout.fields.items():
        ours = field_codes(expected.layout, name, expected.planes[field.plane], expected.shape)
        theirs = field_codes(actual.layout, name, actual.planes[field.plane], actual.shape)
        steps = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        if steps.any():
            kind = "float" if isinstance(field.element, Minifloat) else "code"
            differing.append((name, kind))
            largest = max(largest, int(steps.max()))
    names = ", ".join(name for name, _ in differing)
    if largest != 1:
        return None
    if all(name in code_fields(expected.layout) for name, _ in differing):
        return f"{names} differ by one step at most: another rounding of ties, or another divisor"
    return f"{names} differ by one step at most: the scale is rounded in another way"
