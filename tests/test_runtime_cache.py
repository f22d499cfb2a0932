"""Keys and values in three types: what is read back, what it takes, what it does to a model."""

import numpy as np
import pytest

from refquant.errors import FormatError, UsageError
from refquant.runtime import load_model
from refquant.runtime.cache import CACHE_TYPES, Cache, Store
from refquant.tensor import quantize
from tests.architecture_models import NAMES, golden
from tests.command_line import call
from tests.runtime_models import random_checkpoint

DECODERS = [name for name in NAMES if name not in ("bert", "dream", "llada", "sdar")]


def vectors(tokens, heads=2, width=16, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((tokens, heads, width)).astype(np.float32)


def kept(kind, x):
    """What a store of the type reads back, f32[heads, t, width]."""
    store = Store((1, x.shape[1], len(x) + 3, x.shape[2]), kind)
    store.write(0, 0, x)
    return store.read(0, len(x), np.empty((x.shape[1], len(x), x.shape[2]), np.float32))


def test_float16_keeps_the_nearest_and_infinity_beyond():
    x = vectors(5)
    x[0, 0, :6] = [1 + 2.0**-11, 1 + 3 * 2.0**-11, 65519.0, 65520.0, 2.0**-25, -0.0]
    with np.errstate(over="ignore"):
        expected = x.swapaxes(0, 1).astype(np.float16).astype(np.float32)
    assert np.array_equal(kept("float16", x).view(np.uint32), expected.view(np.uint32))


def test_int8_is_the_nearest_multiple_of_a_scale_for_each_vector():
    x = vectors(6)
    x[0] = 0
    x[1, 0] = np.float32(127) * 2.0**-149  # its 127th part is the smallest number
    x[1, 1] = 2.0**-149  # its 127th part is 0: the scale is 1, and codes are 0
    x[2, 0, :] = np.arange(16) * 0.5  # ties
    x[2, 0, -1] = -127
    found = kept("int8", x)
    for token in range(6):
        for head in range(2):
            vector = x[token, head]
            scale = np.abs(vector).max() / np.float32(127)
            scale = np.float32(1) if scale == 0 else scale
            codes = [round(float(value / scale)) for value in vector]
            assert max(map(abs, codes)) <= 127
            expected = np.float32(codes) * scale
            assert np.array_equal(found[head, token], expected), (token, head)
    assert found[0, 2, :6].tolist() == [0, 0, 1, 2, 2, 2]
    assert found[0, 2, -1] == -127


def test_int8_is_the_scheme_that_files_hold():
    x = vectors(40)
    tensor = quantize(x, "tflite/int8[sym,channel]")
    # TFLite rounds ties away from zero; no other value differs.
    assert np.array_equal(kept("int8", x), tensor.dequantize().swapaxes(0, 1))


@pytest.mark.parametrize("kind", CACHE_TYPES)
def test_what_is_written_is_what_is_seen(kind):
    cache = Cache(2, 2, 9, 16, kind)
    x = vectors(7)
    first = cache.write(1, x[:4], -x[:4])
    cache.advance(4)
    again = cache.write(1, x[4:], -x[4:])
    for keys, sign in zip(again, (1, -1), strict=True):
        assert np.array_equal(sign * keys, kept(kind, x))
    assert np.array_equal(again[0][:, :4], kept(kind, x[:4]))
    assert first[0].dtype == again[0].dtype == np.float32
    cache.advance(3)
    bytes_of = {"float32": 4 * 16, "float16": 2 * 16, "int8": 16 + 4}
    assert cache.nbytes == 7 * 2 * 2 * 2 * bytes_of[kind]
    cache.truncate(2)
    assert cache.length == 2
    other = cache.of_type("int8")
    assert (other.kind, other.capacity, other.length) == ("int8", 9, 0)


def logits(checkpoint, tokens, kind, mode="exact", parts=None):
    model = load_model(checkpoint, arithmetic_mode=mode, cache_type=kind)
    cache = model.new_cache(len(tokens))
    assert cache.kind == kind
    steps = parts or [tokens]
    return np.concatenate([model.forward(step, cache) for step in steps])


@pytest.mark.parametrize("name", DECODERS)
def test_models_of_every_family_run_with_every_type(name):
    checkpoint, known = golden(name)
    full = logits(checkpoint, known.tokens, "float32", "fast")
    half = logits(checkpoint, known.tokens, "float16", "fast")
    byte = logits(checkpoint, known.tokens, "int8", "fast")
    size = np.abs(full).max()
    assert 0 < np.abs(half - full).max() < 0.01 * size
    assert np.abs(half - full).max() < np.abs(byte - full).max() < 0.1 * size


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_tokens_together_are_tokens_one_by_one(kind):
    checkpoint, tokens = random_checkpoint(seed=4), [3, 1, 4, 1, 5, 9]
    together = logits(checkpoint, tokens, kind)
    apart = logits(checkpoint, tokens, kind, parts=[[token] for token in tokens])
    assert together.tobytes() == apart.tobytes()


def test_words_that_are_no_type():
    with pytest.raises(UsageError, match="float32, float16, int8; not 'float32' and 'int4'"):
        load_model(random_checkpoint(), cache_type="int4")
    with pytest.raises(UsageError, match="not 'int4'"):
        Cache(1, 1, 1, 1, "int4")


def test_keys_that_float16_cannot_hold_are_told():
    checkpoint = random_checkpoint()
    keys = checkpoint.tensors["blk.0.attn_k.weight"].dequantize() * np.float32(1e5)
    checkpoint.tensors["blk.0.attn_k.weight"] = quantize(keys, "float/f32")
    assert np.isfinite(logits(checkpoint, [1, 2], "float32")).all()
    with pytest.raises(FormatError, match="a cache of type float16"):
        logits(checkpoint, [1, 2], "float16")


def test_stats_show_what_the_cache_takes(capsys):
    taken = {}
    for kind in CACHE_TYPES:
        found = call(
            capsys, "run", "demo", "-p", "It is", "-n", 4, "--cache-type", kind, "--stats", "--json"
        )
        assert found.status == 0, found.err
        assert f"as {kind}" in found.err
        assert found.json["cache_type"] == kind
        assert found.json["stats"]["cache_positions"] == len(found.json["prompt_ids"]) + 3
        taken[kind] = found.json["stats"]["cache_bytes"]
    assert taken["float32"] == 2 * taken["float16"] > 3 * taken["int8"]


def test_the_effect_can_be_measured(capsys):
    asked = ("eval", "demo", "--reference", "demo", "--window", 64, "--windows", 2, "--json")
    apart = {}
    for kind in CACHE_TYPES:
        facts = call(capsys, *asked, "--cache-type", kind).json
        assert facts["cache_type"] == kind
        apart[kind] = facts["reference"]["kl"]
    assert apart["float32"] < apart["float16"] < apart["int8"] < 1e-3
    rounded = call(capsys, *asked, "--precision", "bfloat16").json
    assert rounded["precision"] == "bfloat16"
    assert 1e-6 < rounded["reference"]["kl"] < 1e-3
