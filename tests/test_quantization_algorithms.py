"""Algorithms and static activations through the command: what they do to a real model."""

import numpy as np
import pytest

from refquant.calibrate import ActivationRange, RangeRule
from refquant.formats import open_checkpoint
from refquant.library import resolve
from refquant.quantization.folding import Fold, folded_importance
from refquant.quantization.inputs import collect_inputs
from refquant.quantization.ranges import collect_ranges
from refquant.runtime import Tokenizer, load_model
from refquant.runtime.ops import rms_norm
from tests.command_line import call
from tests.roundings import SINGLE, assert_rounded


@pytest.fixture(scope="module")
def demo():
    return load_model(open_checkpoint(resolve("demo")))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text to learn from."""
    folder = tmp_path_factory.mktemp("texts")
    from importlib.resources import files

    text = (files("refquant") / "demo" / "heldout.txt").read_text("utf-8")
    (folder / "learn.txt").write_text(text[: len(text) // 2])
    return folder


def test_smoothquant_moves_reach_from_inputs_to_weights(capsys, tmp_path, texts, demo):
    """The model stays what it is, and what its matrices read reaches less far."""
    path = tmp_path / "smooth.rq"
    options = ("--algorithm", "smoothquant", "--calibration", texts / "learn.txt")
    few = ("--calibration-windows", 2, "--algorithm-option", "alpha=0.75")
    found = call(capsys, "quantize", "demo", "-o", path, "--scheme", "f32", *options, *few)
    assert found.status == 0, found.err
    smooth = load_model(open_checkpoint(path))
    ids = Tokenizer(demo.checkpoint.tokenizer).encode((texts / "learn.txt").read_text())
    name = "blk.2.ffn_up.weight"
    before, after = (
        collect_inputs(model, ids, windows=2, products=False)[name] for model in (demo, smooth)
    )
    uneven = before.largest.max() / np.median(before.largest)
    assert after.largest.max() / np.median(after.largest) < 0.7 * uneven
    logits = [model.forward(ids[:64], model.new_cache(64)) for model in (demo, smooth)]
    assert not np.array_equal(*logits)
    assert np.array_equal(*(one.argmax(axis=1) for one in logits))


def test_norms_that_are_less_one_take_scales_in_as_what_they_multiply_with():
    scales = np.float32([2, 4])
    fold = Fold(rows=scales, added=1.0)
    assert fold.applied(np.float32([0.5, 3])).tolist() == [1.5 / 2 - 1, 4 / 4 - 1]


def test_importance_follows_inputs_that_were_divided():
    found = folded_importance(
        {"a": np.float32([4, 9]), "b": np.float32([1])}, {"a": Fold(columns=np.float32([2, 3]))}
    )
    assert {name: one.tolist() for name, one in found.items()} == {"a": [1, 1], "b": [1]}


def test_ranges_are_those_of_what_a_matrix_reads_and_writes(demo):
    ids = list(range(40, 104))
    found = collect_ranges(demo, [ids[:32], ids[32:]], RangeRule("minmax"))
    moments = collect_inputs(demo, ids, window=32)
    read, written = found["blk.0.attn_k.weight"]
    assert max(-read.minimum, read.maximum) == moments["blk.0.attn_k.weight"].largest.max()
    block = demo.network.blocks[0]
    x = demo.network.embedding[np.array(ids)]
    x = rms_norm(x, block.attention_norm.weight, block.attention_norm.epsilon)
    w = demo.checkpoint.tensors["blk.0.attn_k.weight"].dequantize().T
    x, w = x.astype(np.float64), w.astype(np.float64)
    y, size = x @ w, (np.abs(x) @ np.abs(w)).max()
    # Sums of 256 products in binary32, in whatever order; an extreme errs no more than they do.
    assert_rounded(written.maximum, y.max(), 256, SINGLE, size=size)
    assert_rounded(written.minimum, y.min(), 256, SINGLE, size=size)
    assert set(found) == {name for name in demo.checkpoint.tensors if "norm" not in name}
    (head,) = collect_ranges(demo, [ids], names=["token_embd.weight"]).values()
    logits = demo.forward(ids, demo.new_cache(64))
    assert head[1] == ActivationRange(float(logits.min()), float(logits.max()))


STATIC_RECIPE = """
recipe = 1
[[rules]]
layers = "1-2"
role = ["attention", "feedforward"]
scheme = "aeq/int8"
compute = "static"
activation = "int8_static"
"""


@pytest.mark.parametrize("rule", ["minmax", "moving_average", "percentile", "entropy"])
def test_static_activations_from_a_recipe_to_a_text(capsys, tmp_path, texts, rule):
    recipe, path = tmp_path / "static.toml", tmp_path / "static.rq"
    recipe.write_text(STATIC_RECIPE)
    learned = ("--calibrate", texts / "learn.txt", "--calibration-windows", 2)
    command = ("quantize", "demo", "-o", path, "--recipe", recipe, *learned)
    assert call(capsys, *command, "--activation-range", rule).status == 0
    assert "int8_static for 14 tensors" in call(capsys, "inspect", path).out
    record = open_checkpoint(path).info["provenance"]["calibration"]
    assert record["activation_range"] == rule
    assert call(capsys, "run", path, "-p", "It is a truth", "-n", 4).status == 0
    small = ("--windows", 1, "--window", 128, "--json")
    judged = call(capsys, "eval", path, "--reference", "demo", *small).json["reference"]
    assert 1e-4 < judged["kl"] < 0.1


def test_static_activations_need_a_text(capsys, tmp_path):
    recipe = tmp_path / "static.toml"
    recipe.write_text(STATIC_RECIPE)
    found = call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", "--recipe", recipe)
    assert found.status == 2
    assert "scales that are found on a text: --calibrate FILE" in found.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--algorithm", "hqq"), "hqq moves the real offset of each group, and ggml/q4_0 has none"),
        (("--algorithm", "mse", "--algorithm-option", "stps=3"), "did you mean 'steps'?"),
        (("--algorithm", "mse", "--algorithm-option", "steps=many"), "'many' is no such value"),
        (("--algorithm", "mse", "--algorithm-option", "steps"), "expected NAME=VALUE"),
        (("--algorithm-option", "steps=3"), "--algorithm-option goes with --algorithm"),
        (("--algorithm", "smoothquant"), "smoothquant learns from a text"),
    ],
)
def test_algorithms_that_cannot_serve(capsys, tmp_path, options, message):
    found = call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", "--scheme", "q4_0", *options)
    assert found.status == 2
    assert message in found.err


@pytest.mark.parametrize("algorithm", ["mse", "hqq"])
def test_files_of_algorithms_that_learn_nothing_can_be_made_again(capsys, tmp_path, algorithm):
    path, scheme = tmp_path / "x.rq", "hqq/affine[bits=4,group=64]"
    command = ("quantize", "demo", "-o", path, "--scheme", scheme, "--algorithm", algorithm)
    assert call(capsys, *command).status == 0
    found = call(capsys, "verify", path, "--rederive", resolve("demo"))
    assert found.status == 0, found.err
