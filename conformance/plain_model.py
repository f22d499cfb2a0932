"""The suite's plain model, `oracle/llama.py`, with the fields and the numbers of a `.rq` file."""

from pathlib import Path

import numpy as np

from conformance.oracle.llama import Llama
from refquant.formats import open_checkpoint

__all__ = ["model_of"]


def model_of(path: Path, kind: type[Llama] = Llama) -> Llama:
    """A model whose tensors are decoded to rows; a norm is a matrix of one row."""
    checkpoint = open_checkpoint(path)
    tensors = {
        name: np.atleast_2d(tensor.dequantize()).tolist()
        for name, tensor in checkpoint.tensors.items()
    }
    return kind(dict(checkpoint.architecture.fields), tensors)
