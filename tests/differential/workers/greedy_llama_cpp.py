"""The tokens that llama.cpp writes after prompts, the most probable one each time.

    python greedy_llama_cpp.py MODEL.gguf PROMPTS.json COUNT ANSWER.json

Runs in the environment of the `llama` oracle and imports nothing of refquant. PROMPTS holds lists
of token ids, ANSWER becomes for each of them a list of COUNT tokens. Keys and values are cached in
float32 and attention is the plain one, so that with float32 weights nothing is narrower.
"""

import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np


def greedy(model, prompt, count):
    """The prompt's continuation, and how far the second most probable token lay behind."""
    model.reset()
    model.eval(prompt)
    tokens = []
    for _ in range(count):
        tokens.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(tokens[-1:])
    return tokens


def main():
    """Read the prompts, write the continuations."""
    path, asked, count, answer = sys.argv[1:]
    prompts = json.loads(Path(asked).read_text())
    model = llama_cpp.Llama(
        model_path=path,
        n_ctx=512,
        n_batch=512,
        n_threads=1,
        n_threads_batch=1,
        n_gpu_layers=0,
        logits_all=True,
        flash_attn=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )
    found = [greedy(model, prompt, int(count)) for prompt in prompts]
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
