"""The forward pass against a slow float64 one that shares no code, within a derived bound."""

import numpy as np
import pytest

from refquant.runtime import attention, blocks, load_model, ops, rope
from tests.runtime_models import checkpoint_of, llama_fields, random_checkpoint, random_tensors
from tests.runtime_oracle import exact_logits

TOKENS = [3, 1, 4, 1, 5]
MODELS = {
    "interleaved": {},
    "halves": {"rope_style": "halves"},
    "one key head for all": {"heads": 4, "key_value_heads": 1, "layers": 1},
    "a key head for each": {"heads": 3, "key_value_heads": 3, "layers": 1},
    "output of its own, heads wider than the model": {
        "tied_embeddings": False,
        "head_width": 6,
        "layers": 1,
        "rope_theta": 100.0,
    },
}


@pytest.fixture(scope="module")
def reference():
    checkpoint = random_checkpoint(seed=7)
    return checkpoint, *exact_logits(checkpoint, TOKENS)


def forward(model, tokens=TOKENS):
    return model.forward(tokens, model.new_cache(len(tokens)))


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_logits_lie_within_the_derived_bound(changes):
    checkpoint = random_checkpoint(seed=7, **changes)
    exact, bound = exact_logits(checkpoint, TOKENS)
    for weights in ("float32", "packed"):
        logits = forward(load_model(checkpoint, weights))
        assert logits.dtype == np.float32
        assert np.all(np.abs(logits - exact) <= bound), weights
    # A bound as large as the logits would prove nothing.
    assert bound.max() < 2e-3 * np.abs(exact).max()


@pytest.mark.parametrize("scheme", ["ggml/q4_0", "float/bf16"])
def test_quantized_weights_run_as_the_numbers_they_stand_for(scheme):
    sizes = {"width": 32, "head_width": 8, "feedforward_width": 32, "layers": 1}
    checkpoint = random_checkpoint(scheme, **sizes)
    exact, bound = exact_logits(checkpoint, TOKENS)
    for weights in ("float32", "packed"):
        assert np.all(np.abs(forward(load_model(checkpoint, weights)) - exact) <= bound)


def test_tokens_one_by_one_lie_within_the_same_bound(reference):
    checkpoint, exact, bound = reference
    model = load_model(checkpoint)
    cache = model.new_cache(len(TOKENS))
    for place, token in enumerate(TOKENS):
        logits = model.forward([token], cache)
        assert np.all(np.abs(logits[0] - exact[place]) <= bound[place])
    assert cache.length == len(TOKENS)


def test_a_prompt_in_two_parts_lies_within_the_same_bound(reference):
    checkpoint, exact, bound = reference
    model = load_model(checkpoint)
    cache = model.new_cache(len(TOKENS))
    parts = [model.forward(TOKENS[:2], cache), model.forward(TOKENS[2:], cache)]
    assert np.all(np.abs(np.concatenate(parts) - exact) <= bound)


def test_query_tiles_lie_within_the_same_bound(monkeypatch, reference):
    # Tiles of 2 over 5 positions: whole tiles, a rest, and an offset by what the cache holds.
    checkpoint, exact, bound = reference
    monkeypatch.setattr(attention, "QUERY_TILE", 2)
    model = load_model(checkpoint)
    assert np.all(np.abs(forward(model) - exact) <= bound)
    cache = model.new_cache(len(TOKENS))
    late = [model.forward(TOKENS[:2], cache), model.forward(TOKENS[2:], cache)]
    assert np.all(np.abs(np.concatenate(late) - exact) <= bound)


def test_next_logits_are_the_last_of_all_logits(reference):
    checkpoint, exact, bound = reference
    model = load_model(checkpoint)
    last = model.next_logits(TOKENS, model.new_cache(8))
    assert last.shape == (20,)
    assert np.all(np.abs(last - exact[-1]) <= bound[-1])


def permuted(rows, heads):
    """Rows of each head reordered so that neighbours become halves: 0, 2, 4, ... 1, 3, 5, ..."""
    parts = rows.reshape(heads, -1, 2, rows.shape[1])
    return parts.swapaxes(1, 2).reshape(rows.shape)


def test_both_rope_styles_agree_after_permuting_rows(reference):
    _, exact, bound = reference
    fields = llama_fields()
    tensors = random_tensors(fields, seed=7)
    for name, tensor in tensors.items():
        if name.endswith("attn_q.weight"):
            tensors[name] = permuted(tensor, fields["heads"])
        if name.endswith("attn_k.weight"):
            tensors[name] = permuted(tensor, fields["key_value_heads"])
    halves = checkpoint_of(tensors, fields | {"rope_style": "halves"})
    assert np.all(np.abs(forward(load_model(halves)) - exact) <= bound)


def test_repeating_key_heads_changes_nothing(reference):
    _, exact, bound = reference
    fields = llama_fields()
    tensors = random_tensors(fields, seed=7)
    for name, tensor in tensors.items():
        if name.endswith(("attn_k.weight", "attn_v.weight")):
            heads = tensor.reshape(fields["key_value_heads"], -1, tensor.shape[1])
            tensors[name] = np.repeat(heads, 2, axis=0).reshape(-1, tensor.shape[1])
    every = checkpoint_of(tensors, fields | {"key_value_heads": fields["heads"]})
    assert np.all(np.abs(forward(load_model(every)) - exact) <= bound)


def test_later_tokens_do_not_reach_earlier_ones():
    model = load_model(random_checkpoint())
    first, second = forward(model, [1, 2, 3, 4]), forward(model, [1, 2, 9, 9])
    assert np.array_equal(first[:2], second[:2])
    assert not np.array_equal(first[2], second[2])


WRONG = {
    "the other rope style": (
        rope,
        "rotate",
        lambda x, table, _style: ops.rotate(x, table, "halves"),
    ),
    "every other position": (
        rope,
        "rope_table",
        lambda start, n, turns, size: ops.rope_table(start, 2 * n, turns, size)[::2],
    ),
    "no causal mask": (
        attention,
        "_attend_tile",
        lambda q, k, v, *_: attention.softmax(q.swapaxes(0, 1) @ k.T).swapaxes(0, 1) @ v,
    ),
    "key heads in the wrong order": (
        blocks,
        "attend",
        lambda q, k, v, *rest: attention.attend(q, k[::-1], v[::-1], *rest),
    ),
    "epsilon left out": (blocks, "rms_norm", lambda x, w, _epsilon: ops.rms_norm(x, w, 0.0)),
    "gate and up exchanged": (
        blocks,
        "GATES",
        {"silu": lambda gate, up: ops.swiglu(up, gate)},
    ),
}


@pytest.fixture(scope="module")
def quiet_reference():
    # Small states, so that an epsilon of 1e-5 is not lost beside them.
    fields = llama_fields(layers=1)
    tensors = random_tensors(fields, seed=7)
    tensors["token_embd.weight"] *= np.float32(0.1)
    checkpoint = checkpoint_of(tensors, fields)
    return checkpoint, *exact_logits(checkpoint, TOKENS)


@pytest.mark.parametrize(("module", "name", "wrong"), WRONG.values(), ids=WRONG)
def test_the_bound_notices_a_wrong_formula(monkeypatch, quiet_reference, module, name, wrong):
    checkpoint, exact, bound = quiet_reference
    assert np.all(np.abs(forward(load_model(checkpoint)) - exact) <= bound)
    monkeypatch.setattr(module, name, wrong)
    assert np.any(np.abs(forward(load_model(checkpoint)) - exact) > bound)
