"""Logits of llama.cpp for given tokens, from one GGUF file or two.

    python logits_llama_cpp.py FOLDER

Runs in the environment of the `llama` oracle and imports nothing of refquant. FOLDER holds
`tokens.npy`, `float32.gguf`, and may hold `quantized.gguf`. It writes `llama_cpp.npz`: `theirs`
f32[t, v] from the first and `quantized` f32[t, v] from the second. Keys and values are cached in
float32 and attention is the plain one, so that with float32 weights nothing is narrower.
"""

import sys
from pathlib import Path

import llama_cpp
import numpy as np


def logits(path, tokens):
    """f32[t, v], or of an encoder states f32[t, d]."""
    # Encoders answer with the last layer's states, a decoder with logits.
    encodes = llama_cpp.Llama(str(path), vocab_only=True, verbose=False).metadata
    encodes = encodes["general.architecture"] == "bert"
    model = llama_cpp.Llama(
        model_path=str(path),
        embedding=encodes,
        pooling_type=llama_cpp.LLAMA_POOLING_TYPE_NONE,
        n_ctx=len(tokens),
        n_batch=len(tokens),
        n_ubatch=len(tokens),
        n_threads=2,
        n_threads_batch=2,
        n_gpu_layers=0,
        logits_all=True,
        flash_attn=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )
    if llama_cpp.llama_get_memory(model.ctx) is not None:
        model.eval(tokens)
        return np.array(model.scores[: len(tokens)], np.float32)
    # Models whose tokens see later ones keep no keys and values, which `eval` does not expect.
    model._batch.set_batch(batch=tokens, n_past=0, logits_all=True)
    model._ctx.decode(model._batch)
    shape = (len(tokens), model.n_embd() if encodes else model.n_vocab())
    found = model._ctx.get_embeddings() if encodes else model._ctx.get_logits()
    return np.ctypeslib.as_array(found, shape=shape).copy()


def main():
    """Read FOLDER, compute, write."""
    folder = Path(sys.argv[1])
    tokens = np.load(folder / "tokens.npy").tolist()
    results = {"theirs": logits(folder / "float32.gguf", tokens)}
    if (folder / "quantized.gguf").exists():
        results["quantized"] = logits(folder / "quantized.gguf", tokens)
    np.savez(folder / "llama_cpp.npz", **results)


if __name__ == "__main__":
    main()
