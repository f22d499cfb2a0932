"""Small random llama models for tests of the runtime."""

import numpy as np

from refquant.architectures import FAMILIES, Architecture
from refquant.formats.checkpoint import Checkpoint
from refquant.tensor import quantize


def llama_fields(**changes):
    fields = {
        "layers": 2,
        "width": 16,
        "heads": 4,
        "key_value_heads": 2,
        "head_width": 4,
        "feedforward_width": 24,
        "vocabulary": 20,
        "context": 64,
        "rope_theta": 10000.0,
        "rope_style": "interleaved",
        "norm_epsilon": 1e-5,
        "tied_embeddings": True,
    }
    return fields | changes


def random_tensors(fields, seed=0):
    """Weights that keep every state near 1, so that a wrong formula shows."""
    random = np.random.default_rng(seed)
    return {
        name: (
            1 + 0.25 * random.standard_normal(shape)
            if len(shape) == 1
            else random.standard_normal(shape)
            * (1.5 if name.startswith("token") else shape[1] ** -0.5)
        ).astype(np.float32)
        for name, shape in FAMILIES["llama"].tensors(fields).items()
    }


def checkpoint_of(tensors, fields, scheme="float/f32", tokenizer=None):
    stored = {
        name: quantize(tensor, scheme if tensor.ndim > 1 else "float/f32")
        for name, tensor in tensors.items()
    }
    return Checkpoint(Architecture("llama", fields), stored, {}, tokenizer, {}, {})


def random_checkpoint(scheme="float/f32", seed=0, tokenizer=None, **changes):
    fields = llama_fields(**changes)
    return checkpoint_of(random_tensors(fields, seed), fields, scheme, tokenizer)
