"""The type of a model's own numbers: where states are rounded, and weights.

The parts of a model (`blocks.py`) compute in binary32 whatever the precision. What one part hands
to the next is rounded to it, and so are weights that are stored as floats: `spec/arithmetic.md`
lists the places. The parts call `rounded()`; `rounding(name)` says to what, inside of a `with`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

import numpy as np

from refquant.arithmetic.precision import PRECISIONS, Precision, rounded_to
from refquant.errors import UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["in_precision", "is_rounding", "rounded", "rounding"]

_IN_FORCE: Final[ContextVar[Precision]] = ContextVar("precision in force", default="float32")

_SCHEMES: Final = {"float16": "float/f16", "bfloat16": "float/bf16"}


@contextmanager
def rounding(name: Precision) -> Iterator[None]:
    """Round states to a type inside of the `with`; UsageError for another word."""
    if name not in PRECISIONS:
        raise UsageError(f"precision can be {', '.join(PRECISIONS)}, not {name!r}")
    token = _IN_FORCE.set(name)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def is_rounding() -> bool:
    """Whether states are rounded further than to float32."""
    return _IN_FORCE.get() != "float32"


def rounded(x: Floats) -> Floats:  # f32[...] -> f32[...]
    """A state in the precision that is in force; the array itself in float32."""
    chosen = _IN_FORCE.get()
    return x if chosen == "float32" else rounded_to(x, chosen)


def in_precision(checkpoint: Checkpoint, name: Precision) -> Checkpoint:
    """The checkpoint with its floats rounded; tensors of other schemes mean what they mean.

    Raises UnsupportedError for a weight that float16 cannot hold.
    """
    if name == "float32":
        return checkpoint
    tensors = {
        tensor: _rounded(stored, tensor, name) for tensor, stored in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def _rounded(tensor: QuantizedTensor, where: str, name: Precision) -> QuantizedTensor:
    target = _SCHEMES[name]
    if not tensor.scheme.name.startswith("float/") or tensor.scheme.name == target:
        return tensor
    values = tensor.dequantize()
    with np.errstate(over="ignore"):
        made = quantize(values, target)
    if name == "float16" and np.isfinite(values).all() and not np.isfinite(made.dequantize()).all():
        raise UnsupportedError(
            f"{where} holds numbers beyond 65504, which float16 cannot; bfloat16 and float32 can"
        )
    return made
