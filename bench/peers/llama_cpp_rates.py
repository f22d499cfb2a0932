"""Rates of llama.cpp: `python llama_cpp_rates.py MODEL.gguf THREADS PROMPT_TOKENS TOKENS REPEATS`.

Runs in the environment of the `llama` oracle and prints one JSON object: tokens of a prompt read in
a second, and tokens written in a second after it, the median over the repetitions.
"""

import json
import statistics
import sys
import time

import llama_cpp


def main() -> None:
    """Measure one model."""
    path, *numbers = sys.argv[1:]
    threads, count, tokens, repeats = map(int, numbers)
    model = llama_cpp.Llama(
        model_path=path,
        n_ctx=512,
        n_batch=512,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=0,
        verbose=False,
    )
    prompt = [(37 * place + 11) % 40000 + 100 for place in range(count)]
    prefills, steps = [], []
    for _ in range(repeats):
        model.reset()
        began = time.perf_counter()
        model.eval(prompt)
        prefills.append(time.perf_counter() - began)
        for place in range(tokens):
            began = time.perf_counter()
            model.eval([prompt[place]])
            steps.append(time.perf_counter() - began)
    found = {"prefill": count / statistics.median(prefills), "decode": 1 / statistics.median(steps)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
