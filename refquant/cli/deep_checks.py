"""What `refquant verify --deep` looks at beyond bytes: weights, texts, tokenizer, architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refquant.cli.progress import progress
from refquant.errors import RefquantError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.tensor import QuantizedTensor

__all__ = ["Decoded", "check_model", "check_texts", "decode_all"]

_WEIGHTS_AT_ONCE = 1 << 22
"""Weights that are decoded together: 16 MiB of binary32."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """How many weights were decoded, and how many of which tensor are no finite numbers."""

    weights: int
    not_finite: Mapping[str, int]


def decode_all(checkpoint: "Checkpoint", *, quiet: bool) -> Decoded:
    """Decode every weight and count those that are NaN or infinite."""
    names = list(checkpoint.tensors)
    weights, not_finite = 0, {}
    with progress("decoding", len(names), quiet=quiet) as meter:
        for name in names:
            meter.start(name)
            found, wrong = _decode(checkpoint.tensors[name])
            weights += found
            if wrong:
                not_finite[name] = wrong
            meter.advance(1)
    return Decoded(weights, not_finite)


def _decode(tensor: "QuantizedTensor") -> tuple[int, int]:
    """The number of weights, and of those that are not finite, some rows at a time."""
    rows = tensor.shape[0]
    a_row = max(int(np.prod(tensor.shape[1:], dtype=np.int64)), 1)
    step = max(_WEIGHTS_AT_ONCE // a_row, 1)
    if len(tensor.shape) < 2 or step >= rows:
        values = tensor.dequantize()
        return values.size, int(values.size - np.isfinite(values).sum())
    weights = wrong = 0
    for start in range(0, rows, step):
        values = tensor.take(np.arange(start, min(start + step, rows)))
        weights += values.size
        wrong += int(values.size - np.isfinite(values).sum())
    return weights, wrong


def check_texts(checkpoint: "Checkpoint") -> list[str]:
    """Documents that say they are text and are not UTF-8; JSON has rules of its own."""
    found = []
    for name in checkpoint.documents:
        document = checkpoint.documents[name]
        if document.media.lower().startswith("text/"):
            try:
                document.data.decode("utf-8")
            except UnicodeDecodeError as error:
                found.append(f"the document {name!r} is not UTF-8 at byte {error.start}")
    return found


def check_model(checkpoint: "Checkpoint") -> list[str]:
    """The first reason why the model cannot run, of JSON, architecture and tokenizer."""
    from refquant.formats.rq import check_runnable
    from refquant.runtime.tokenizer import Tokenizer

    try:
        check_runnable(checkpoint)
        if checkpoint.tokenizer is not None:
            Tokenizer(checkpoint.tokenizer)
    except RefquantError as error:
        return [f"it cannot run: {error}"]
    return []
