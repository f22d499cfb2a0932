"""What `refquant verify --deep` looks at beyond bytes: weights, texts, tokenizer, architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refquant.cli.progress import progress
from refquant.errors import RefquantError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint, Document
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
    """What is wrong with the documents: JSON that is none, text that is not UTF-8."""
    found = []
    for name in checkpoint.documents:
        problem = _problem_of(checkpoint.documents[name])
        if problem:
            found.append(f"the document {name!r}: {problem}")
    return found


def _problem_of(document: "Document") -> str:
    from refquant.formats.strict_json import parse_json

    kind = document.media.partition(";")[0].strip().lower()
    try:
        if kind == "application/json" or kind.endswith("+json"):
            parse_json(document.data, what="the text")
        elif kind.startswith("text/"):
            document.data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    except RefquantError as error:
        return str(error)
    return ""


def check_model(checkpoint: "Checkpoint") -> list[str]:
    """What is wrong with tokenizer and architecture; nothing where the file has none."""
    from refquant.architectures import check
    from refquant.formats.rq.read import StoredTensors
    from refquant.runtime.tokenizer import Tokenizer

    found = []
    tensors = checkpoint.tensors
    if isinstance(tensors, StoredTensors) and checkpoint.architecture is not None:
        shapes = {name: tensors.shape(name) for name in tensors}
        try:
            check(checkpoint.architecture, shapes)
        except RefquantError as error:
            found.append(f"the architecture: {error}")
    if checkpoint.tokenizer is not None:
        try:
            Tokenizer(checkpoint.tokenizer)
        except RefquantError as error:
            found.append(f"the tokenizer: {error}")
    return found
