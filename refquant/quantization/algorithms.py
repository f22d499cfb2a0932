"""How the codes of one tensor are chosen: the algorithm that its rule names, and what it is given.

`FOLDING` algorithms change the weights of several tensors together before (`folding.py`), and the
scheme's own encoder follows; AWQ then clips groups where errors that count by their inputs become
less, as its authors' package does. `LEARNING` ones need a model's inputs on a text, or an
importance matrix. The others look at the weights alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate import GptqOptions, gptq
from refquant.calibrate.clipping import least_squares, octav_clipped, percentile_clipped
from refquant.calibrate.half_quadratic import HqqOptions, hqq, offset_field
from refquant.driver import Scheme
from refquant.errors import UsageError
from refquant.quantization.inputs import InputMoments
from refquant.recipe import Assignment
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["FOLDING", "LEARNING", "check_algorithms", "encoded"]

F32 = NDArray[np.float32]

FOLDING: Final = frozenset({"awq", "smoothquant"})

LEARNING: Final = frozenset({"imatrix", "gptq", *FOLDING})


def encoded(
    weights: F32,
    scheme: Scheme,
    algorithm: str,
    options: Mapping[str, Any],
    *,
    moments: InputMoments | None = None,
    importance: F32 | None = None,
    threads: int | None = None,
) -> QuantizedTensor:  # f32[n, k] -> packed[n, k]
    """The weights under their scheme, by their algorithm, or by RTN where nothing was learned."""
    if algorithm == "gptq" and moments is not None and moments.products is not None:
        return gptq(weights, moments.products, scheme, GptqOptions(**options))
    is_weighted = algorithm == "imatrix" or (algorithm == "awq" and options.get("clip", True))
    if is_weighted and importance is not None:
        return _weighted(weights, scheme, importance, threads)
    if algorithm in ALONE:
        return ALONE[algorithm](weights, scheme, options, threads)
    return quantize(weights, scheme, threads=threads)


def _weighted(
    weights: F32, scheme: Scheme, importance: F32, threads: int | None
) -> QuantizedTensor:
    """By the scheme's own encoder for it, or where it has none by the search for the best clip."""
    if scheme.encode_weighted is None:
        return least_squares(weights, scheme, importance, threads=threads)
    return quantize(weights, scheme, threads=threads, importance=importance)


ALONE: Final[
    Mapping[str, Callable[[F32, Scheme, Mapping[str, Any], int | None], QuantizedTensor]]
] = {
    "percentile": lambda w, scheme, options, threads: percentile_clipped(
        w, scheme, **options, threads=threads
    ),
    "mse": lambda w, scheme, options, threads: least_squares(w, scheme, **options, threads=threads),
    "octav": lambda w, scheme, _options, threads: octav_clipped(w, scheme, threads=threads),
    "hqq": lambda w, scheme, options, _threads: hqq(w, scheme, HqqOptions(**options)),
}
"""Algorithms that look at the weights alone."""


def check_algorithms(assignments: Iterable[Assignment]) -> None:
    """Raise `UsageError`, before any work, where an algorithm cannot serve a tensor's scheme."""
    for one in assignments:
        scheme = find_scheme(one.target_scheme)
        if one.algorithm == "hqq" and (scheme.operators or offset_field(scheme.layout) is None):
            raise UsageError(
                f"{one.tensor}: hqq moves the real offset of each group, and {scheme.name} has "
                "none; ggml/q4_1, torchao/int4_tinygemm, hqq/affine and mlx/affine have"
            )
