"""Hypothesis strategies: any bytes of a scheme, and weights that are hard to encode."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor
from refquant.testing.inputs import KINDS, make
from refquant.testing.shapes import fitting_shape

__all__ = ["adversarial", "blocks"]


def blocks(
    scheme: str | Scheme, shape: tuple[int, ...] | None = None
) -> st.SearchStrategy[QuantizedTensor]:
    """Quantized tensors of any bytes; they shrink towards zero bytes."""
    found = find_scheme(scheme) if isinstance(scheme, str) else scheme
    size = shape or fitting_shape(found, rows=1)
    planes = st.fixed_dictionaries(
        {
            name: st.binary(min_size=count, max_size=count)
            for name in found.planes
            for count in [found.layout.plane_nbytes(name, size)]
        }
    )
    return planes.map(lambda drawn: QuantizedTensor.from_planes(found, size, drawn))


def adversarial(
    scheme: str | Scheme, shape: tuple[int, ...] | None = None
) -> st.SearchStrategy[NDArray[np.float32]]:
    """Weights whose rows are each of a drawn kind of `adversarial_inputs`, with a drawn seed."""
    found = find_scheme(scheme) if isinstance(scheme, str) else scheme
    size = shape or fitting_shape(found, rows=2)
    kinds = [kind for kind in KINDS if found.non_finite or kind != "non-finite"]
    rows = st.lists(
        st.tuples(st.sampled_from(kinds), st.integers(0, 999)),
        min_size=size[0],
        max_size=size[0],
    )

    def built(chosen: list[tuple[str, int]]) -> NDArray[np.float32]:
        parts = [make(found, size, kind, seed)[i] for i, (kind, seed) in enumerate(chosen)]
        return np.stack(parts)

    return rows.map(built)
