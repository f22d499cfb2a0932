"""Rotated coordinates: the model computes the same, and its weights need fewer codes."""

from dataclasses import replace

import numpy as np
import pytest

import refquant
from refquant.errors import UnsupportedError
from refquant.formats import open_checkpoint
from refquant.library import resolve
from refquant.quantization.inputs import collect_inputs
from refquant.quantization.rotation import rotated_checkpoint
from refquant.runtime import load_model
from tests.architecture_models import golden
from tests.command_line import call

IDS = list(range(40, 104))


@pytest.fixture(scope="module")
def demo():
    return open_checkpoint(resolve("demo"))


def logits(checkpoint):
    model = load_model(checkpoint)
    return model.forward(IDS, model.new_cache(len(IDS)))


def test_the_model_computes_the_same(demo):
    turned = rotated_checkpoint(demo)
    before, after = logits(demo), logits(turned)
    assert not np.array_equal(before, after)
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
    assert turned.architecture.fields["tied_embeddings"] is False
    assert set(turned.tensors) == {*demo.tensors, "output.weight"}
    assert (turned.tensors["blk.1.ffn_norm.weight"].dequantize() == 1).all()
    assert rotated_checkpoint(demo, "") is demo


@pytest.mark.parametrize(
    "family",
    [
        *("dream", "llada", "llama", "llama3", "llama_biases", "llama_linear", "llama_yarn"),
        *("mistral", "phi3", "qwen2", "qwen3", "sdar"),
    ],
)
def test_families_whose_layers_can_be_turned(family):
    checkpoint, _ = golden(family)
    found = []
    for one in (checkpoint, rotated_checkpoint(checkpoint)):
        model = load_model(one)
        found.append(model.forward(range(3, 15), model.new_cache(16)))
    # Other sums, other bits; but all tokens stand in the same order at each place.
    assert not np.array_equal(*found)
    assert np.array_equal(*(one.argsort(axis=1) for one in found))


@pytest.mark.parametrize("family", ["bert", "gemma2", "gemma3", "gpt2", "gpt_oss", "mixtral"])
def test_families_whose_layers_cannot(family):
    with pytest.raises(UnsupportedError, match="would change what it does"):
        rotated_checkpoint(golden(family)[0])


def test_an_outlier_of_what_layers_read_is_spread(demo):
    norm = demo.tensors["blk.3.ffn_norm.weight"].dequantize().copy()
    norm[7] *= 40
    name = "blk.3.ffn_up.weight"
    uneven = {**demo.tensors, "blk.3.ffn_norm.weight": refquant.quantize(norm, "float/f32")}
    found = []
    for one in (replace(demo, tensors=uneven), rotated_checkpoint(replace(demo, tensors=uneven))):
        inputs = collect_inputs(load_model(one), IDS, window=64, products=False)[name]
        found.append(inputs.largest.max() / np.sqrt((inputs.squares / inputs.rows).mean()))
    assert found[1] < 0.5 * found[0]


def test_rows_with_an_outlier_lose_less(demo):
    name, scheme = "blk.2.attn_q.weight", "int/affine[bits=4,channel]"
    weights = demo.tensors[name].dequantize().copy()
    weights[np.arange(len(weights)), np.arange(len(weights)) % weights.shape[1]] *= 30
    uneven = replace(demo, tensors={**demo.tensors, name: refquant.quantize(weights, "float/f32")})
    errors = []
    for checkpoint in (uneven, rotated_checkpoint(uneven)):
        weights = checkpoint.tensors[name].dequantize()
        away = refquant.quantize(weights, scheme).dequantize() - weights
        errors.append(np.sqrt(np.mean(away**2) / np.mean(weights**2)))
    assert errors[1] < 0.6 * errors[0]


def test_through_the_command(capsys, tmp_path, demo):
    path, again = tmp_path / "turned.rq", tmp_path / "again.rq"
    command = ("quantize", "demo", "--scheme", "q8_0", "--rotation", "hadamard")
    assert call(capsys, *command, "-o", path).status == 0
    assert np.corrcoef(logits(open_checkpoint(path)).ravel(), logits(demo).ravel())[0, 1] > 0.999
    assert open_checkpoint(path).info["provenance"]["recipe"]["rotation"] == "hadamard"
    assert call(capsys, "verify", path, "--rederive", resolve("demo")).status == 0
    recipe = tmp_path / "turned.toml"
    recipe.write_text('rotation = "hadamard"\n[[rules]]\nscheme = "ggml/q8_0"\n')
    assert call(capsys, "quantize", "demo", "-o", again, "--recipe", recipe).status == 0
    tensors = [open_checkpoint(one).tensors["blk.0.attn_q.weight"] for one in (path, again)]
    assert tensors[0].planes["blocks"].tobytes() == tensors[1].planes["blocks"].tobytes()
    recipe.write_text('rotation = "hadamar"\n[[rules]]\nscheme = "ggml/q8_0"\n')
    found = call(capsys, "quantize", "demo", "-o", again, "--recipe", recipe)
    assert found.status == 2
    assert "did you mean 'hadamard'?" in found.err


@pytest.mark.parametrize("name", ["blk.0.post_ffw_norm.weight", "blk.0.attn_norm.bias", "x.weight"])
def test_parts_that_a_rotation_would_change(demo, name):
    tensors = {**demo.tensors, name: demo.tensors["blk.0.attn_norm.weight"]}
    with pytest.raises(UnsupportedError, match=r"would change what it does"):
        rotated_checkpoint(replace(demo, tensors=tensors))
