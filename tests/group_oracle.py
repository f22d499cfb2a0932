"""Encoders against scalar oracles: group by group, every field's codes and the driver's cut."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

import refquant
from refquant.driver import Scheme
from refquant.layout import field_codes
from refquant.layout.layout import aligned
from refquant.testing import cases_of

__all__ = ["assert_encodes_as", "check_cases"]

ScalarEncoder = Callable[[Sequence[float]], Mapping[str, Sequence[int]]]
"""The weights of a group to the codes of each field, those of one group in C order."""


def check_cases(scheme: Scheme, oracle: ScalarEncoder) -> int:
    """Compare on all inputs that `refquant.testing` knows; how many groups were compared."""
    return sum(assert_encodes_as(scheme, oracle, c.x) for c in cases_of(scheme) if c.x is not None)


def assert_encodes_as(scheme: Scheme, oracle: ScalarEncoder, x: NDArray[np.float32]) -> int:
    """Every group of `x` gets the oracle's codes in every field; how many groups there are."""
    tensor = refquant.quantize(x, scheme)
    layout, sizes = tensor.layout, aligned(scheme.group, x.shape)
    found = {
        name: field_codes(layout, name, tensor.planes[field.plane], x.shape)
        for name, field in layout.fields.items()
    }
    overs = {name: aligned(field.over, x.shape) for name, field in layout.fields.items()}
    counts = [-(-n // size) for n, size in zip(x.shape, sizes, strict=True)]
    for place in product(*map(range, counts)):
        cut = tuple(slice(k * s, (k + 1) * s) for k, s in zip(place, sizes, strict=True))
        wanted = oracle([float(v) for v in x[cut].ravel()])
        assert set(wanted) == set(found)
        for name, codes in wanted.items():
            inner = tuple(
                slice(c.start // o, -(-min(c.stop, n) // o))
                for c, o, n in zip(cut, overs[name], x.shape, strict=True)
            )
            mine = found[name][inner].ravel().tolist()
            assert mine == list(codes), f"{scheme.name}: field {name} of group {place}"
    return int(np.prod(counts))
