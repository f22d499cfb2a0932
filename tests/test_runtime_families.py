"""Every family against transformers' own states behind every layer, within a derived bound."""

import dataclasses

import numpy as np
import pytest

from refquant.architectures import FAMILIES
from refquant.errors import LimitError, UnsupportedError, UsageError
from refquant.evaluate import perplexity
from refquant.runtime import attention, blocks, decoder, load_encoder, load_model, ops, rope
from tests.architecture_models import NAMES, golden, run

DECODERS = [name for name in NAMES if name != "bert"]
# Where tokens see later ones, a text cannot be cut anywhere.
CAUSAL = [name for name in DECODERS if name not in ("dream", "llada", "sdar")]


def test_every_family_has_a_model():
    families = {golden(name)[0].architecture.family for name in NAMES}
    assert families == set(FAMILIES)


@pytest.mark.parametrize("weights", ["float32", "packed"])
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_lies_within_the_bound(name, weights):
    checkpoint, states = golden(name)
    strays = states.strays(run(checkpoint, states.tokens, weights))
    assert max(strays.values()) <= 1, strays
    # A bound as large as the states would prove nothing.
    for state, bound in states.bound.items():
        assert bound.max() <= 5e-4 * np.abs(states.exact[state]).max(), state


@pytest.mark.parametrize("name", CAUSAL)
def test_tokens_one_by_one_lie_within_the_same_bound(name):
    checkpoint, states = golden(name)
    one_by_one = [[token] for token in states.tokens]
    strays = states.strays(run(checkpoint, states.tokens, parts=one_by_one))
    assert max(strays.values()) <= 1, strays


@pytest.mark.parametrize("name", ["bert", "gemma2", "gemma3", "gpt2", "gpt_oss", "mixtral"])
def test_exact_arithmetic_gives_one_result_within_the_bound(name):
    checkpoint, states = golden(name)
    tokens = states.tokens
    whole = run(checkpoint, tokens, mode="exact")
    strays = states.strays(whole)
    assert max(strays.values()) <= 1, strays
    if name != "bert":
        cuts = [tokens[:1], tokens[1:4], tokens[4:]]
        parts = run(checkpoint, tokens, "packed", parts=cuts, mode="exact")
        for state, values in whole.items():
            assert np.array_equal(values.view(np.uint32), parts[state].view(np.uint32)), state


@pytest.mark.parametrize("name", ["gemma3", "gpt_oss", "mistral"])
def test_query_tiles_lie_within_the_same_bound(name, monkeypatch):
    monkeypatch.setattr(attention, "QUERY_TILE", 2)
    checkpoint, states = golden(name)
    tokens = states.tokens
    for parts in ([tokens], [tokens[:3], tokens[3:]]):
        strays = states.strays(run(checkpoint, tokens, parts=parts))
        assert max(strays.values()) <= 1, strays


def test_blocks_may_come_one_after_another():
    checkpoint, states = golden("sdar")
    tokens = states.tokens
    strays = states.strays(run(checkpoint, tokens, parts=[tokens[:4], tokens[4:8], tokens[8:]]))
    assert max(strays.values()) <= 1, strays


def changed(checkpoint, **fields):
    """The same tensors under other fields; None takes a field out."""
    found = {**checkpoint.architecture.fields, **fields}
    found = {name: value for name, value in found.items() if value is not None}
    architecture = dataclasses.replace(checkpoint.architecture, fields=found)
    return dataclasses.replace(checkpoint, architecture=architecture)


WRONG_FIELDS = {
    "mistral, window one longer": ("mistral", {"window": 5}),
    "mistral, no window": ("mistral", {"window": None}),
    "phi3, window one shorter": ("phi3", {"window": 4}),
    "gemma3, another period": ("gemma3", {"window_period": 2}),
    "gemma3, one theta for all": ("gemma3", {"rope_theta_windowed": None}),
    "gemma3, frequencies not stretched": ("gemma3", {"rope_scaling": None, "rope_factor": None}),
    "gemma3, norms whole": ("gemma3", {"norms_less_one": False}),
    "gemma3, scores by the head's width": ("gemma3", {"score_divisor": 8.0}),
    "gemma2, scores not capped": ("gemma2", {"score_soft_cap": None}),
    "gemma2, logits not capped": ("gemma2", {"logit_soft_cap": None}),
    "llama3, other borders": ("llama3", {"rope_high_frequency": 3.5}),
    "yarn, borders rounded": ("gpt_oss", {"rope_truncated": True}),
    "yarn, borders not rounded": ("llama_yarn", {"rope_truncated": False}),
    "yarn, size left out": ("llama_yarn", {"rope_size": 1.0}),
    "linear, another factor": ("llama_linear", {"rope_factor": 4.01}),
    "experts, weights of all": ("qwen3_moe", {"router": "as it is"}),
    "experts, weights of the chosen": ("qwen3_moe_plain", {"router": "sums to one"}),
    "experts, one fewer": ("mixtral", {"experts_used": 1}),
    "sdar, longer blocks": ("sdar", {"block_length": 5}),
    "gpt2, another epsilon": ("gpt2", {"norm_epsilon": 1e-3}),
    "bert, another epsilon": ("bert", {"norm_epsilon": 1e-3}),
}


@pytest.mark.parametrize(("name", "fields"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_the_bound_notices_a_wrong_field(name, fields):
    checkpoint, states = golden(name)
    strays = states.strays(run(changed(checkpoint, **fields), states.tokens))
    assert max(strays.values()) > 1


def no_sink(q, k, v, sight, _sink=None):
    return attention.attend(q, k, v, sight)


def gelu_of_tanh(x):
    return ops.gelu_tanh(x)


WRONG_OPERATIONS = {
    "sinks left out": ("gpt_oss", blocks, "attend", no_sink),
    "gate not clamped": ("gpt_oss", ops, "CLAMPED_LIMIT", np.float32(1e9)),
    "gate as silu": ("gpt_oss", ops, "CLAMPED_STEEPNESS", np.float32(1.0)),
    "silu for gelu": ("gemma2", blocks, "GATES", {"gelu_tanh": ops.swiglu}),
    "gelu's tanh form for erf": ("bert", blocks, "gelu", gelu_of_tanh),
    "gelu for its tanh form": ("gpt2", blocks, "gelu_tanh", ops.gelu),
    "the mean not taken off": (
        "gpt2",
        blocks,
        "layer_norm",
        lambda x, w, b, e: ops.rms_norm(x, w, e) + b,
    ),
    "keys not turned": (
        "qwen3",
        rope,
        "rotate",
        lambda x, t, s: np.concatenate([ops.rotate(x[:, :-2], t, s), x[:, -2:]], axis=1),
    ),
    "queries not normalised": (
        "qwen3",
        blocks,
        "rms_norm",
        lambda x, w, e: x if x.ndim == 3 and x.shape[1] == 4 else ops.rms_norm(x, w, e),
    ),
}


@pytest.mark.parametrize(
    ("name", "module", "attribute", "wrong"), WRONG_OPERATIONS.values(), ids=WRONG_OPERATIONS
)
def test_the_bound_notices_a_wrong_operation(monkeypatch, name, module, attribute, wrong):
    checkpoint, states = golden(name)
    monkeypatch.setattr(module, attribute, wrong)
    assert max(states.strays(run(checkpoint, states.tokens)).values()) > 1


def test_embeddings_are_scaled_and_positions_added(monkeypatch):
    for name in ("gemma2", "gpt2"):
        checkpoint, states = golden(name)
        with monkeypatch.context() as patch:
            patch.setattr(decoder, "_embedded", lambda ids, model, _at: model.embedding[ids])
            assert states.strays(run(checkpoint, states.tokens))["embedding"] > 1


def test_each_kind_of_model_has_its_loader():
    with pytest.raises(UnsupportedError, match="load_encoder"):
        load_model(golden("bert")[0])
    with pytest.raises(UnsupportedError, match="writes text"):
        load_encoder(golden("llama")[0])


def test_learned_positions_end():
    model = load_model(golden("gpt2")[0])
    cache = model.new_cache(40)
    model.forward([3] * 32, cache)
    with pytest.raises(LimitError, match="32 positions"):
        model.forward([3], cache)
    assert cache.length == 32


def test_an_encoder_gives_one_vector_or_one_for_each_token():
    encoder = load_encoder(golden("bert")[0])
    ids = [3, 4, 5, 6]
    states = encoder.states(ids)
    assert np.array_equal(encoder.embed(ids, pooling="none"), states)
    assert np.array_equal(encoder.embed(ids, pooling="first"), states[0])
    # A sum of four numbers and a product: four roundings.
    bound = 4 * 2.0**-24 * np.abs(states).mean(axis=0)
    mean = states.astype(np.float64).mean(axis=0)
    assert np.all(np.abs(encoder.embed(ids) - mean) <= bound)
    assert abs(np.linalg.norm(encoder.embed(ids, normalize=True)) - 1) <= 2.0**-20
    with pytest.raises(UsageError, match="pooling"):
        encoder.embed(ids, pooling="max")
    with pytest.raises(UsageError, match="not among"):
        encoder.embed([20])
    with pytest.raises(LimitError, match="at most 32"):
        encoder.embed([3] * 33)


def test_perplexity_is_for_models_that_write_one_token_after_another():
    with pytest.raises(UnsupportedError, match="masks"):
        perplexity(load_model(golden("llada")[0]), list(range(16)), window=8)
