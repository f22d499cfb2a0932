"""What `refquant convert` writes, in the engines that it is written for: llama.cpp and tract."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest

from refquant import quantize
from refquant.formats import open_checkpoint
from refquant.formats.gguf_export import plan_gguf
from refquant.library import resolve
from refquant.runtime import GenerateOptions, Tokenizer, generate, load_model
from tests.architecture_models import GOLDEN, states_in
from tests.command_line import call
from tests.differential.logits_smollm2 import WORKERS, run_worker
from tests.differential.test_gguf_families import write as write_with_gguf_py

pytestmark = pytest.mark.differential

TOKENS = 24


def theirs(oracle, path, prompts, folder):
    (folder / "prompts.json").write_text(json.dumps(prompts))
    command = [oracle("llama"), WORKERS / "greedy_llama_cpp.py", path, folder / "prompts.json"]
    subprocess.run([*command, str(TOKENS), folder / "answer.json"], check=True)
    return json.loads((folder / "answer.json").read_text())


def ours(path, prompts):
    checkpoint = open_checkpoint(path)
    model, options = load_model(checkpoint), GenerateOptions(max_tokens=TOKENS, ignore_eos=True)
    return [[step.token for step in generate(model, prompt, options)] for prompt in prompts]


@pytest.mark.slow
def test_smollm2_comes_back_byte_for_byte_with_the_same_logits(
    capsys, oracle, smollm2_gguf, tmp_path
):
    middle, again = tmp_path / "middle.rq", tmp_path / "again.gguf"
    assert call(capsys, "convert", smollm2_gguf, middle, "--quiet").status == 0
    assert call(capsys, "convert", middle, again, "--quiet", "--lossless-only").status == 0
    assert again.read_bytes() == smollm2_gguf.read_bytes()
    np.save(tmp_path / "tokens.npy", np.array([504, 3575, 282, 4649, 314]))
    logits = []
    for path in (smollm2_gguf, again):
        (tmp_path / "float32.gguf").unlink(missing_ok=True)
        (tmp_path / "float32.gguf").symlink_to(path)
        logits.append(run_worker(oracle("llama"), "llama_cpp", tmp_path)["theirs"])
    assert np.array_equal(*logits)
    assert np.isfinite(logits[0]).all()


@pytest.mark.parametrize("scheme", ["float/f32", "ggml/q8_0"])
def test_the_demo_says_the_same_in_llama_cpp(capsys, oracle, tmp_path, scheme):
    small, path = tmp_path / "small.rq", tmp_path / "small.gguf"
    options = ("--scheme", scheme, "--quiet")
    assert call(capsys, "quantize", "demo", "-o", small, *options).status == 0
    assert call(capsys, "convert", small, path, "--quiet", "--lossless-only").status == 0
    tokenizer = Tokenizer(open_checkpoint(resolve("demo")).tokenizer)
    prompts = [tokenizer.encode(text) for text in ("Once upon a time", "The ship was 12")]
    found, expected = theirs(oracle, path, prompts, tmp_path), ours(small, prompts)
    # In eight bits llama.cpp rounds activations too, so a close race may end otherwise.
    assert found == expected if scheme == "float/f32" else found[0][:8] == expected[0][:8]
    assert ours(path, prompts) == expected


@pytest.mark.parametrize(
    "name",
    ["llama3", "llama_biases", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"],
)
def test_llama_cpp_reads_families_as_from_another_writer(oracle, tmp_path, name):
    checkpoint, logits = open_checkpoint(GOLDEN / name), []
    fields = checkpoint.architecture.fields
    if "score_divisor" in fields:
        fields["score_divisor"] = float(fields["head_width"])
    wide = {key: quantize(one.dequantize(), "float/f32") for key, one in checkpoint.tensors.items()}
    np.save(tmp_path / "tokens.npy", np.array(states_in(GOLDEN / name).tokens))
    path = tmp_path / "float32.gguf"
    plan = plan_gguf(dataclasses.replace(checkpoint, tensors=wide))
    for write in (
        lambda: plan.write(path, lambda _name, _found: None),
        lambda: write_with_gguf_py(path, checkpoint),
    ):
        write()
        logits.append(run_worker(oracle("llama"), "llama_cpp", tmp_path)["theirs"])
    assert np.array_equal(*logits)
    assert np.isfinite(logits[0]).all()


@pytest.mark.parametrize("legacy", [False, True])
def test_tract_multiplies_with_difference_0(capsys, oracle, tmp_path, legacy):
    model, folder = tmp_path / "q40.rq", tmp_path / "linears.nnef"
    command = ("quantize", "demo", "-o", model, "-c", "min_max_q4_0_all", "--quiet")
    assert call(capsys, *command).status == 0
    options = ["--legacy"] if legacy else []
    assert (
        call(capsys, "convert", model, folder, "--lossless-only", "--quiet", *options).status == 0
    )
    # Small integers times float16 scales: every sum is exact, in whatever order.
    random = np.random.default_rng(3)
    inputs = {
        f"x{width}": random.integers(-8, 9, (1, width)).astype(np.float32) for width in (256, 512)
    }
    request, answer = tmp_path / "request.npz", tmp_path / "answer.npz"
    np.savez(request, folder=str(folder), **inputs)
    worker = WORKERS / "tract_linears_worker.py"
    subprocess.run([oracle("tract"), worker, request, answer], check=True)
    found = np.load(answer)
    tensors = [one for one in open_checkpoint(model).tensors.values() if len(one.shape) == 2]
    assert len(found.files) == len(tensors) == 36
    for index, tensor in enumerate(tensors):
        product = inputs[f"x{tensor.shape[1]}"] @ tensor.dequantize().T
        assert np.array_equal(found[f"y{index}"], product)
