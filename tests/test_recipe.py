"""Which tensor gets which scheme, and why."""

from types import SimpleNamespace

import numpy as np
import pytest

from refquant.driver import Scheme
from refquant.errors import UnknownSchemeError, UsageError
from refquant.recipe import Recipe, Rule, assign, layer_of, role_of, uniform_recipe
from refquant.schemes import scheme
from refquant.tensor import quantize


def checkpoint(**schemes_and_shapes):
    """A stand-in with tensors of zeros: name -> (scheme, shape); `__` in a name is a dot."""
    return SimpleNamespace(
        tensors={
            name.replace("__", "."): quantize(np.zeros(shape, np.float32), stored)
            for name, (stored, shape) in schemes_and_shapes.items()
        }
    )


SMALL = {
    "token_embd__weight": ("f32", (7, 64)),
    "blk__0__attn_norm__weight": ("f32", (64,)),
    "blk__0__attn_q__weight": ("f32", (64, 64)),
    "blk__0__ffn_down__weight": ("f32", (64, 96)),
    "output_norm__weight": ("f32", (64,)),
    "output__weight": ("f32", (7, 64)),
}


def targets(name, **keywords):
    return [
        found.target_scheme
        for found in assign(checkpoint(**SMALL), uniform_recipe(name, **keywords))
    ]


def test_order_is_the_checkpoints():
    names = [found.tensor for found in assign(checkpoint(**SMALL), uniform_recipe("q4_0"))]
    assert names == [name.replace("__", ".") for name in SMALL]


def test_few_bits_spare_the_embedding_the_head_and_vectors():
    assert targets("q4_0") == [
        "ggml/q8_0", "float/f32", "ggml/q4_0", "ggml/q4_0", "float/f32", "ggml/q8_0"
    ]  # fmt: skip


def test_a_norm_stays_as_it_is_whatever_its_shape():
    (found,) = assign(
        checkpoint(blk__0__attn_k_norm__weight=("f32", (4, 32))), uniform_recipe("q4_0")
    )
    assert (found.is_untouched, found.reason) == (True, "norm")


@pytest.mark.parametrize("name", ["ggml/q8_0", "int/affine[bits=8,sym,channel]", "float/f16"])
def test_eight_bits_or_more_reach_every_matrix(name):
    assert targets(name) == [name, "float/f32", name, name, "float/f32", name]


def test_seven_bits_and_scales_of_a_bit_each_are_not_eight():
    found = targets("int/affine[bits=7,group=32]")
    assert scheme("int/affine[bits=7,group=32]").bits_per_weight((7, 64)) >= 8
    assert found[0] == "int/affine[bits=7,sym,group=32]"


def test_the_embedding_can_be_asked_for():
    found = targets("q4_0", embedding_scheme="f16")
    assert found[0] == found[5] == "float/f16"
    assert found[2] == "ggml/q4_0"


def test_keep_leaves_everything_untouched():
    found = assign(checkpoint(**SMALL), uniform_recipe("keep"))
    assert all(one.is_untouched and not one.is_requantized for one in found)


def test_keep_with_an_embedding_scheme_changes_the_ends_only():
    found = assign(checkpoint(**SMALL), uniform_recipe("keep", "q8_0"))
    changed = [one.tensor for one in found if not one.is_untouched]
    assert changed == ["token_embd.weight", "output.weight"]


def test_what_has_the_scheme_already_is_untouched():
    tensors = {"blk__0__attn_q__weight": ("q4_0", (4, 64)), "token_embd__weight": ("q8_0", (4, 64))}
    found = assign(checkpoint(**tensors), uniform_recipe("q4_0"))
    assert [one.is_untouched for one in found] == [True, True]
    assert found[0].reason == "has this scheme already"


def test_codes_for_codes_are_a_requantization_and_floats_are_not():
    tensors = {
        "blk__0__attn_q__weight": ("q4_1", (4, 64)),
        "blk__0__attn_k__weight": ("f16", (4, 64)),
    }
    found = assign(checkpoint(**tensors), uniform_recipe("q4_0"))
    assert [one.is_requantized for one in found] == [True, False]
    assert [one.is_requantized for one in assign(checkpoint(**tensors), uniform_recipe("f32"))] == [
        False,
        False,
    ]


def test_floats_under_another_name_are_floats():
    (found,) = assign(
        checkpoint(blk__0__attn_q__weight=("aeq/fp16", (4, 64))), uniform_recipe("q4_0")
    )
    assert not found.is_requantized


def test_a_shape_that_does_not_fit_falls_back_and_says_why():
    tensors = {"blk__0__attn_q__weight": ("f32", (4, 48))}
    (found,) = assign(checkpoint(**tensors), uniform_recipe("q4_0"))
    assert found.target_scheme == "int/affine[bits=8,sym,channel]"
    assert found.nbytes == 4 * 48 + 4 * 4
    assert "axis -1 has 48 weights, expected a multiple of 32" in found.reason


def test_the_first_fallback_is_tried_first(monkeypatch):
    known = scheme("q4_0")
    wide = Scheme("x/wide", "groups of 64", known.layout, known.encode, group=(64,))
    monkeypatch.setattr(
        "refquant.recipe.assignment.find_scheme",
        lambda name: wide if name == "x/wide" else scheme(name),
    )
    tensors = {"blk__0__attn_q__weight": ("f32", (4, 96))}
    (found,) = assign(checkpoint(**tensors), Recipe(rules=(Rule(scheme="x/wide"),)))
    assert found.target_scheme == "ggml/q8_0"
    assert found.reason.startswith("x/wide does not fit")


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UnknownSchemeError, match="did you mean"):
        uniform_recipe("q4_00")


def test_a_scheme_without_an_encoder_is_refused(monkeypatch):
    known = scheme("q4_0")
    blind = Scheme("x/blind", "only decodes", known.layout, None)
    monkeypatch.setattr("refquant.recipe.uniform.find_scheme", lambda _name: blind)
    with pytest.raises(UsageError, match="x/blind can be decoded but not encoded"):
        uniform_recipe("x/blind")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("token_embd.weight", "embedding"),
        ("output.weight", "head"),
        ("output_norm.weight", "norm"),
        ("blk.11.attn_norm.weight", "norm"),
        ("blk.11.attn_k_norm.weight", "norm"),
        ("blk.11.attn_output.weight", "attention"),
        ("blk.11.attn_q.bias", "attention"),
        ("blk.0.ffn_gate.weight", "feedforward"),
        ("blk.0.ffn_norm.weight", "norm"),
        ("rope_freqs.weight", "default"),
        ("token_embd.weight.x", "default"),
    ],
)
def test_roles_come_from_names(name, role):
    assert role_of(name) == role


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("blk__0__ffn_gate_inp__weight", "router"),
        ("model__layers__3__mlp__gate__weight", "router"),
        ("model__layers__3__mlp__router__weight", "router"),
        ("blk__0__ffn_up_exps__bias", "bias"),
        ("blk__0__attn_norm__weight", "norm"),
    ],
)
def test_few_weights_that_decide_much_stay_as_they_are(name, reason):
    """As llama.cpp leaves them; a rule may still ask for them by name."""
    model = checkpoint(**{name: ("f32", (8, 64))})
    (found,) = assign(model, uniform_recipe("q4_0"))
    assert (found.is_untouched, found.reason) == (True, reason)
    (asked,) = assign(model, Recipe(rules=(Rule(scheme="q8_0", match=".*"),)))
    assert asked.target_scheme == "ggml/q8_0"


@pytest.mark.parametrize(
    ("name", "role", "layer"),
    [
        ("model.embed_tokens.weight", "embedding", None),
        ("model.layers.11.self_attn.q_proj.weight", "attention", 11),
        ("model.layers.11.self_attn.q_norm.weight", "norm", 11),
        ("model.layers.0.mlp.down_proj.weight", "feedforward", 0),
        ("model.layers.0.mlp.experts.5.w1.weight", "feedforward", 0),
        ("model.layers.0.input_layernorm.weight", "norm", 0),
        ("model.norm.weight", "norm", None),
        ("lm_head.weight", "head", None),
        ("tok_embeddings.weight", "embedding", None),
        ("layers.2.attention.wq.weight", "attention", 2),
        ("layers.2.feed_forward.w3.weight", "feedforward", 2),
        ("transformer.h.4.attn.c_attn.weight", "attention", 4),
        ("transformer.h.4.ln_1.weight", "norm", 4),
        ("transformer.wte.weight", "embedding", None),
        ("bert.encoder.layer.7.attention.self.query.weight", "attention", 7),
        ("0.weight", "default", None),
        ("output.weight", "head", None),
    ],
)
def test_roles_are_told_from_torchs_names_too(name, role, layer):
    assert (role_of(name), layer_of(name)) == (role, layer)
