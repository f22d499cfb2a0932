"""Precisions: where states are rounded, how far that strays, what files and people ask for."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from refquant.arithmetic.precision import rounded_to
from refquant.cli import main
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats import open_checkpoint
from refquant.formats.compute import COMPUTE_EXTENSION, compute_extension, compute_precision
from refquant.library import resolve
from refquant.runtime import blocks, load_model
from refquant.tensor import quantize
from tests.architecture_models import NAMES, golden
from tests.narrow_oracle import NarrowLlama
from tests.runtime_models import random_checkpoint
from tests.test_runtime_exact import PROGRAM, digest_of

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
NARROW = list(TYPES)
DECODERS = [name for name in NAMES if name != "bert"]


def bits(x):
    return np.ascontiguousarray(x, np.float32).view(np.uint32)


@pytest.mark.parametrize("precision", NARROW)
def test_numbers_become_the_nearest_of_the_type(precision):
    random = np.random.default_rng(2)
    x = random.integers(0, 1 << 32, 20_000, np.uint64).astype(np.uint32).view(np.float32)
    x = x[~np.isnan(x)]
    ties = np.float32([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11, 65519.99, 65520, 2.0**-25, -0.0])
    x = np.concatenate([x, ties, -ties, np.float32([np.inf, -np.inf, 3.4e38])])
    with np.errstate(over="ignore"):
        expected = x.astype(TYPES[precision]).astype(np.float32)
    assert np.array_equal(bits(rounded_to(x, precision)), bits(expected))
    assert np.isnan(rounded_to(np.float32([np.nan]), precision)).all()
    assert np.array_equal(bits(rounded_to(x[::3], precision)), bits(expected[::3]))
    assert rounded_to(x, "float32") is x


def states_of(model, tokens, last=None):
    """States before the first layer and behind every one, and the logits; `last` gets the last."""
    seen = {}

    def watch(name, state):
        seen[name] = state.copy()

    logits = model.forward(tokens, model.new_cache(len(tokens)), watch=watch)
    (last if last is not None else {})["output_norm"] = seen.pop("output_norm")
    return list(seen.values()), logits


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("name", DECODERS)
def test_states_of_every_family_are_numbers_of_the_type(name, precision):
    checkpoint, known = golden(name)
    states, logits = states_of(load_model(checkpoint, precision=precision), known.tokens)
    for state in (*states, logits):
        assert np.array_equal(bits(state), bits(state.astype(TYPES[precision])))
    wide, _ = states_of(load_model(checkpoint), known.tokens)
    assert not np.array_equal(wide[-1], states[-1])
    assert np.abs(wide[-1] - states[-1]).max() < 0.2 * np.abs(wide[-1]).max()


def links_of(model, tokens):
    """What each layer's matrices read and wrote, as `narrow_oracle` wants it; and of the output."""
    calls, fields = [], model.architecture.fields
    plain = blocks.affine

    def noting(x, w):
        y = plain(x, w)
        calls.append((x.copy(), y.copy()))
        return y

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "affine", noting)
        normal = {}
        states, logits = states_of(model, tokens, normal)
    layers = []
    width, group = (fields["head_width"] * fields[name] for name in ("heads", "key_value_heads"))
    for number, (before, after) in enumerate(pairwise(states)):
        (q_in, qkv), (o_in, o), (up_in, both), (down_in, down) = calls[4 * number : 4 * number + 4]
        q, k, v = np.split(qkv, (width, width + group), axis=1)
        gate, up = np.split(both, 2, axis=1)
        layers.append(
            {
                "before": before, "q_in": q_in, "q": q, "k": k, "v": v, "o_in": o_in, "o": o,
                "up_in": up_in, "gate": gate, "up": up, "down_in": down_in, "down": down,
                "after": after,
            }
        )  # fmt: skip
    return layers, normal["output_norm"], logits


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize("precision", NARROW)
def test_links_lie_within_the_derived_bounds(precision, mode):
    checkpoint, known = golden("llama")
    model = load_model(checkpoint, arithmetic_mode=mode, precision=precision)
    found = links_of(model, known.tokens)
    strays = NarrowLlama(checkpoint, precision).strays(*found)
    assert max(strays.values()) <= 1, strays
    # The bounds know which type is meant: the coarser one leaves those of the finer at every link.
    if precision == "bfloat16":
        finer = NarrowLlama(checkpoint, "float16").strays(*found)
        assert min(finer.values()) > 1, finer


class Slow:
    """A llama in binary64 that rounds where `spec/arithmetic.md` says, one token at a time."""

    def __init__(self, checkpoint, precision):
        self.weights = {
            name: tensor.dequantize().astype(np.float64)
            for name, tensor in checkpoint.tensors.items()
        }
        self.fields, self.kind = checkpoint.architecture.fields, TYPES[precision]

    def state(self, x):
        return np.float32(x).astype(self.kind).astype(np.float64)

    def norm(self, x, name):
        # Its operations are single roundings of binary32 in the exact arithmetic.
        part, epsilon = np.float32(1 / x.size), np.float32(self.fields["norm_epsilon"])
        mean = np.float32(np.sum(x * x)) * part
        normal = np.float32(x) / np.sqrt(mean + epsilon)
        return self.state(normal * np.float32(self.weights[f"{name}.weight"]))

    def linear(self, x, name):
        return self.state(self.weights[f"{name}.weight"] @ x)

    def rotate(self, heads, position):
        half = heads.shape[1] // 2
        frequency = self.fields["rope_theta"] ** -(np.arange(half) / half)
        cosine, sine = (f(position * frequency).astype(np.float32) for f in (np.cos, np.sin))
        a, b = np.float32(heads[:, :half]), np.float32(heads[:, half:])
        return self.state(np.hstack([a * cosine - b * sine, b * cosine + a * sine]))

    def attend(self, query, keys, values):
        scaled = (np.float32(query) * np.float32(1 / np.sqrt(query.size))).astype(np.float64)
        scores = np.float32(keys @ scaled)
        powers = np.exp((scores - scores.max()).astype(np.float64)).astype(np.float32)
        shares = powers / np.float32(np.sum(powers.astype(np.float64)))
        return self.state(shares.astype(np.float64) @ values)

    def forward(self, tokens):
        count, groups = self.fields["heads"], self.fields["key_value_heads"]
        seen = {layer: ([], []) for layer in range(self.fields["layers"])}
        rows = []
        for position, token in enumerate(tokens):
            x = self.state(self.weights["token_embd.weight"][token])
            for layer, (keys, values) in seen.items():
                block = f"blk.{layer}."
                normal = self.norm(x, f"{block}attn_norm")
                query, key, value = (
                    self.linear(normal, f"{block}attn_{part}").reshape(heads, -1)
                    for part, heads in (("q", count), ("k", groups), ("v", groups))
                )
                query = self.rotate(query, position)
                keys.append(self.rotate(key, position))
                values.append(value)
                mixed = [
                    self.attend(
                        query[head],
                        np.array(keys)[:, head * groups // count],
                        np.array(values)[:, head * groups // count],
                    )
                    for head in range(count)
                ]
                inner = self.linear(np.concatenate(mixed), f"{block}attn_output")
                x = self.state(np.float32(x) + np.float32(inner))
                normal = self.norm(x, f"{block}ffn_norm")
                gate, up = (self.linear(normal, f"{block}ffn_{part}") for part in ("gate", "up"))
                power = np.exp(-gate).astype(np.float32)
                bent = np.float32(gate) / (power + np.float32(1)) * np.float32(up)
                inner = self.linear(self.state(bent), f"{block}ffn_down")
                x = self.state(np.float32(x) + np.float32(inner))
            rows.append(self.linear(self.norm(x, "output_norm"), "output"))
        return np.float32(rows)


@pytest.mark.parametrize("precision", NARROW)
def test_exact_logits_are_those_of_a_slow_engine_that_follows_the_text(precision):
    checkpoint, known = golden("llama")
    model = load_model(checkpoint, arithmetic_mode="exact", precision=precision)
    ours = model.forward(known.tokens, model.new_cache(len(known.tokens)))
    assert np.array_equal(bits(ours), bits(Slow(checkpoint, precision).forward(known.tokens)))


DIGESTS = {
    "bfloat16": "987f1ad89b9224a2c0a72b92a64bcebdcd723ab33c4ba09f5a2f96073b92d2d7",
    "float16": "334854d87c72554f9a0b91b93ca28c40a6bcc98f7ba2f3ec34d1524a32bfc910",
}
"""SHA-256 of the embedded model's logits f32[16, vocabulary] for ids 0, 7, 14, ... 105."""


@pytest.mark.parametrize("precision", NARROW)
def test_the_embedded_models_exact_logits_are_these_bits(precision):
    model = load_model(
        open_checkpoint(resolve("demo")), arithmetic_mode="exact", precision=precision
    )
    logits = model.forward(range(0, 112, 7), model.new_cache(16))
    assert hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest() == DIGESTS[precision]


@pytest.mark.slow
@pytest.mark.parametrize("precision", NARROW)
def test_exact_logits_under_another_kernel_and_numpy_without_wide_vectors(precision):
    features = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_ICL"
    program = f"precision, count = {precision!r}, 16" + PROGRAM
    for environment in (
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"NPY_DISABLE_CPU_FEATURES": features, "PYTHONWARNINGS": "ignore"},
    ):
        assert digest_of(program=program, **environment) == DIGESTS[precision]


def test_float_weights_are_rounded_and_quantized_ones_are_not():
    checkpoint = random_checkpoint("aeq/int8", seed=3, tied_embeddings=False)
    model = load_model(checkpoint, precision="bfloat16")
    for name, tensor in checkpoint.tensors.items():
        held, own = model.checkpoint.tensors[name].dequantize(), tensor.dequantize()
        if len(tensor.shape) == 1:
            own = own.astype(ml_dtypes.bfloat16)
        assert np.array_equal(bits(held), bits(own)), name


def test_what_float16_cannot_hold():
    checkpoint = random_checkpoint()
    large = checkpoint.tensors["blk.1.ffn_down.weight"].dequantize().copy()
    large[0, 0] = 70_000
    tensors = {**checkpoint.tensors, "blk.1.ffn_down.weight": quantize(large, "float/f32")}
    beyond = replace(checkpoint, tensors=tensors)
    with pytest.raises(UnsupportedError, match=r"blk.1.ffn_down.* holds numbers beyond 65504"):
        load_model(beyond, precision="float16")
    load_model(beyond, precision="bfloat16")
    large[0, 0] = 0
    large *= 60_000 / np.abs(large).max()
    tensors = {**checkpoint.tensors, "blk.1.ffn_down.weight": quantize(large, "float/f32")}
    model = load_model(replace(checkpoint, tensors=tensors), precision="float16")
    with pytest.raises(FormatError, match="beyond what float16 can hold"):
        model.forward([1, 2], model.new_cache(2))
    with pytest.raises(UsageError, match="not 'float8'"):
        load_model(checkpoint, precision="float8")


def test_a_file_names_its_precision_and_a_caller_another():
    checkpoint = replace(random_checkpoint(), extensions=compute_extension({}, "bfloat16"))
    assert checkpoint.extensions[COMPUTE_EXTENSION]["data"] == {"precision": "bfloat16"}
    assert compute_precision(checkpoint.extensions) == "bfloat16"
    assert compute_extension({}, "float32") == {}
    assert compute_precision({}) == "float32"
    assert load_model(checkpoint).precision == "bfloat16"
    assert load_model(checkpoint, precision="float32").precision == "float32"
    assert load_model(checkpoint, compute="weight-only").precision == "bfloat16"
    entry = {COMPUTE_EXTENSION: {"critical": False, "data": {"precision": "half"}}}
    with pytest.raises(FormatError, match="float32, float16, bfloat16"):
        compute_precision(entry)


def test_a_recipe_with_a_precision_writes_it(tmp_path, capsys):
    recipe, output = tmp_path / "recipe.toml", tmp_path / "made.rq"
    recipe.write_text(
        'recipe = 1\nprecision = "bfloat16"\n[[rules]]\nrole = "feedforward"\n'
        'scheme = "aeq/int8"\n',
        "utf-8",
    )
    assert main(["quantize", "demo", "-o", str(output), "--recipe", str(recipe)]) == 0
    capsys.readouterr()
    assert compute_precision(open_checkpoint(output).extensions) == "bfloat16"
    assert main(["inspect", str(output)]) == 0
    assert "precision     bfloat16" in capsys.readouterr().out
    assert main(["inspect", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "bfloat16"


@pytest.mark.parametrize(("word", "precision"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_a_precision_alone_is_written_too(word, precision, tmp_path, capsys):
    output = tmp_path / "made.rq"
    asked = json.dumps({"precision": {"dtype": word}})
    assert main(["quantize", "demo", "-o", str(output), "--quantize", asked]) == 0
    capsys.readouterr()
    found = open_checkpoint(output)
    assert compute_precision(found.extensions) == precision
    assert found.tensors["token_embd.weight"].scheme.name == f"float/{word.replace('p', '')}"
