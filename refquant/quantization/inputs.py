"""What each matrix of a model is multiplied with: sums over the tokens of a calibration text.

The text is read in windows by the model itself, in binary32. For each matrix the sums of squares of
its input's elements are kept (an importance matrix), and where it is asked for the sums of products
of any two of them (the Hessian of a layer's error, for GPTQ). Sums are binary64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnsupportedError, UsageError
from refquant.runtime import Model
from refquant.runtime.arithmetic_mode import primitives, using
from refquant.runtime.blocks import FeedForward, Gated, Plain
from refquant.runtime.decoder import Decoder

__all__ = ["InputMoments", "collect_inputs", "matrices_of"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class InputMoments:
    """Sums over `rows` inputs of one matrix: of squares, of magnitudes, and of products."""

    rows: int
    squares: F64 = field(repr=False)
    magnitudes: F64 = field(repr=False)
    products: F64 | None = field(default=None, repr=False)

    @property
    def importance(self) -> F32:
        """The mean square of each input, by which errors in its column of weights count."""
        return (self.squares / max(self.rows, 1)).astype(np.float32)

    def add(self, x: F32) -> None:
        """Take the rows of x into the sums."""
        wide = x.astype(np.float64)
        self.rows += len(wide)
        self.squares += np.einsum("ij,ij->j", wide, wide)
        self.magnitudes += np.abs(wide).sum(axis=0)
        if self.products is not None:
            self.products += wide.T @ wide


def collect_inputs(
    model: Model,
    tokens: Sequence[int],
    *,
    window: int = 512,
    windows: int | None = None,
    products: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, InputMoments]:
    """The moments of the inputs of every matrix, by tensor name, over a text's tokens.

    Matrices that are read together (queries, keys and values) share one record. Raises
    `UsageError` for a text shorter than one window, `UnsupportedError` for a model whose weights
    stay packed, that fills in masks, or whose networks are experts.
    """
    if (
        model.weight_mode != "float32"
        or model.fills_masks
        or not isinstance(model.network, Decoder)
    ):
        raise UnsupportedError("inputs are collected from decoders with weights in float32")
    window = min(window, model.context)
    count = len(tokens) // window if windows is None else min(windows, len(tokens) // window)
    if count < 1:
        raise UsageError(f"the text has {len(tokens)} tokens, less than one window of {window}")
    moments: dict[int, InputMoments] = {}
    names = {id(matrix): found for found, matrix in matrices_of(model.network)}
    plain = primitives()

    def observed(x: F32, w: F32) -> F32:  # f32[t, k], f32[n, k] -> f32[t, n]
        if id(w) in names:
            if id(w) not in moments:
                moments[id(w)] = _zeros(w.shape[1], products=products)
            moments[id(w)].add(x)
        return plain.row_products(x, w)

    with using(replace(plain, row_products=observed)):
        for index in range(count):
            part = list(tokens[index * window : (index + 1) * window])
            model.network.forward(
                np.asarray(part, np.int64), model.new_cache(window), rows=np.array([len(part) - 1])
            )
            if progress is not None:
                progress(index + 1, count)
    return {name: found for key, found in moments.items() for name in names[key]}


def matrices_of(network: Decoder) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every matrix of a decoder's layers, with the names of the tensors that are stacked in it."""
    for layer, block in enumerate(network.blocks):
        prefix = f"blk.{layer}"
        stacked = tuple(f"{prefix}.attn_{part}.weight" for part in ("q", "k", "v"))
        yield (*stacked, f"{prefix}.attn_qkv.weight"), block.attention.query_key_value.matrix
        yield (f"{prefix}.attn_output.weight",), block.attention.output.matrix
        yield from _network_matrices(prefix, block.feed_forward)


def _network_matrices(
    prefix: str, network: FeedForward
) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(network, Gated):
        both = (f"{prefix}.ffn_gate.weight", f"{prefix}.ffn_up.weight")
        yield both, network.gate_up.matrix
    elif isinstance(network, Plain):
        yield (f"{prefix}.ffn_up.weight",), network.up.matrix
    else:
        raise UnsupportedError("inputs of experts are not collected; each sees few tokens")
    yield (f"{prefix}.ffn_down.weight",), network.down.matrix


def _zeros(width: int, *, products: bool) -> InputMoments:
    square = np.zeros((width, width)) if products else None
    return InputMoments(0, np.zeros(width), np.zeros(width), square)
