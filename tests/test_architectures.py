"""Families as data: fields, tensors, and what GGUF and Hugging Face call them."""

import pytest

from refquant.architectures import (
    FAMILIES,
    Architecture,
    check,
    family_named,
    family_of_gguf,
    family_of_hugging_face,
)
from refquant.errors import FormatError, UnsupportedError
from tests.runtime_models import llama_fields

LLAMA = FAMILIES["llama"]

# The published numbers of SmolLM2-135M, as each format writes them.
SMOLLM2_GGUF = {
    "general.architecture": "llama",
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.feed_forward_length": 1536,
    "llama.context_length": 8192,
    "llama.rope.freq_base": 100000.0,
    "llama.rope.dimension_count": 64,
    "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
    "llama.vocab_size": 49152,
}
SMOLLM2_CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "rope_theta": 100000,
    "rms_norm_eps": 1e-05,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rope_scaling": None,
}
SMOLLM2 = {
    "layers": 30,
    "width": 576,
    "heads": 9,
    "key_value_heads": 3,
    "head_width": 64,
    "feedforward_width": 1536,
    "vocabulary": 49152,
    "context": 8192,
    "rope_theta": 100000.0,
    "tied_embeddings": True,
}


def without(mapping, *keys):
    return {key: value for key, value in mapping.items() if key not in keys}


def test_gguf_metadata_becomes_fields():
    fields = family_of_gguf("llama").from_gguf(SMOLLM2_GGUF, ["token_embd.weight"])
    assert fields == SMOLLM2 | {"rope_style": "interleaved", "norm_epsilon": 9.999999747378752e-06}
    LLAMA.check_fields(fields)


def test_an_output_matrix_in_gguf_means_untied():
    fields = LLAMA.from_gguf(SMOLLM2_GGUF, {"token_embd.weight", "output.weight"})
    assert fields["tied_embeddings"] is False
    assert LLAMA.tensors(fields)["output.weight"] == (49152, 576)


def test_gguf_defaults_are_the_formats_own():
    left_out = ("llama.attention.head_count_kv", "llama.rope.freq_base", "llama.vocab_size")
    metadata = without(SMOLLM2_GGUF, *left_out) | {"tokenizer.ggml.tokens": ["a", "b"]}
    fields = LLAMA.from_gguf(metadata, ())
    assert (fields["key_value_heads"], fields["rope_theta"]) == (9, 10000.0)
    assert fields["vocabulary"] == 2


def test_hugging_face_config_becomes_fields():
    fields = family_of_hugging_face("llama").from_hugging_face(SMOLLM2_CONFIG)
    assert fields == SMOLLM2 | {"rope_style": "halves", "norm_epsilon": 1e-05}
    LLAMA.check_fields(fields)


def test_hugging_face_defaults_are_the_classes_own():
    bare = without(
        SMOLLM2_CONFIG, "num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings"
    )
    fields = LLAMA.from_hugging_face(bare)
    assert fields["key_value_heads"] == 9
    assert (fields["rope_theta"], fields["norm_epsilon"]) == (10000.0, 1e-6)
    assert fields["tied_embeddings"] is False
    mistral = bare | {"model_type": "mistral", "sliding_window": None, "num_attention_heads": 32}
    assert LLAMA.from_hugging_face(mistral)["key_value_heads"] == 8


def test_the_newer_place_of_rope_theta_is_read():
    config = without(SMOLLM2_CONFIG, "rope_theta")
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 5000.0}
    assert LLAMA.from_hugging_face(config)["rope_theta"] == 5000.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rope_scaling": {"rope_type": "longrope", "factor": 8.0}}, "longrope"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "mscale"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "every n-th"),
        ({"intermediate_size": [1, 2]}, "intermediate_size"),
    ],
)
def test_unsupported_configurations_are_named(change, named):
    with pytest.raises(UnsupportedError, match=named):
        LLAMA.from_hugging_face(SMOLLM2_CONFIG | change)


@pytest.mark.parametrize("window", [None, 0, 8192, 10**6])
def test_a_window_that_hides_nothing_is_left_out(window):
    assert "window" not in LLAMA.from_hugging_face(SMOLLM2_CONFIG | {"sliding_window": window})


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"sliding_window": 4096}, {"window": 4096}),
        ({"model_type": "mistral"}, {"window": 4096}),
        (
            {"attention_bias": True},
            {"query_key_value_bias": True, "attention_output_bias": True},
        ),
        ({"mlp_bias": True}, {"feedforward_bias": True}),
        (
            {"rope_scaling": {"type": "linear", "factor": 2}},
            {"rope_scaling": "linear", "rope_factor": 2.0},
        ),
        (
            {"rope_scaling": LLAMA3},
            {
                "rope_scaling": "llama3",
                "rope_factor": 8.0,
                "rope_original_context": 8192,
                "rope_low_frequency": 1.0,
                "rope_high_frequency": 4.0,
            },
        ),
        (
            {"rope_scaling": YARN},
            {
                "rope_scaling": "yarn",
                "rope_factor": 4.0,
                "rope_original_context": 2048,
                "rope_beta_fast": 32.0,
                "rope_beta_slow": 1.0,
                "rope_truncated": True,
                "rope_size": 1.138629436111989,
            },
        ),
        ({"model_type": "mixtral"}, {"experts": 8, "experts_used": 2}),
    ],
)
def test_features_of_a_configuration_become_fields(change, fields):
    found = LLAMA.from_hugging_face(SMOLLM2_CONFIG | change)
    LLAMA.check_fields(found)
    plain = LLAMA.from_hugging_face(SMOLLM2_CONFIG)
    assert {name: found[name] for name in found.keys() - plain.keys()} == fields


@pytest.mark.parametrize(
    ("change", "names", "fields"),
    [
        ({"llama.attention.sliding_window": 4096}, (), {"window": 4096}),
        ({}, ("rope_freqs.weight",), {"rope_factors": True}),
        ({}, ("blk.0.attn_q.bias",), {"query_key_value_bias": True}),
        ({"llama.rope.scale_linear": 4.0}, (), {"rope_scaling": "linear", "rope_factor": 4.0}),
        (
            {"llama.expert_count": 8, "llama.expert_used_count": 2},
            (),
            {"experts": 8, "experts_used": 2},
        ),
    ],
)
def test_features_of_gguf_metadata_become_fields(change, names, fields):
    found = LLAMA.from_gguf(SMOLLM2_GGUF | change, names)
    LLAMA.check_fields(found)
    plain = LLAMA.from_gguf(SMOLLM2_GGUF, ())
    assert {name: found[name] for name in found.keys() - plain.keys()} == fields


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"llama.rope.scaling.type": "longrope"}, "longrope"),
        ({"llama.rope.dimension_count": 32}, "dimension_count"),
        ({"llama.attention.value_length": 32}, "value_length"),
        ({"llama.attention.head_count_kv": [3, 4]}, "one value for each layer"),
    ],
)
def test_unsupported_gguf_metadata_is_named(change, named):
    with pytest.raises(UnsupportedError, match=named):
        LLAMA.from_gguf(SMOLLM2_GGUF | change, ())


@pytest.mark.parametrize("bad", ["30", 30.5, True, 0, -1, {}])
def test_ill_typed_metadata_is_refused(bad):
    with pytest.raises(FormatError, match=r"llama.block_count") as caught:
        LLAMA.from_gguf(SMOLLM2_GGUF | {"llama.block_count": bad}, ())
    assert caught.value.code == "E_ARCH_METADATA"


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_missing_metadata_is_refused(key):
    with pytest.raises(FormatError, match=key) as caught:
        LLAMA.from_hugging_face(without(SMOLLM2_CONFIG, key))
    assert caught.value.code == "E_ARCH_METADATA"


def test_a_head_width_that_cannot_be_derived_is_refused():
    with pytest.raises(FormatError, match="head_dim"):
        LLAMA.from_hugging_face(SMOLLM2_CONFIG | {"hidden_size": 577})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "1..4096"),
        ({"layers": 4097}, "1..4096"),
        ({"layers": 2.0}, "an integer"),
        ({"layers": True}, "an integer"),
        ({"norm_epsilon": 0.0}, "above 0"),
        ({"norm_epsilon": float("nan")}, "finite"),
        ({"norm_epsilon": 1}, "finite float"),
        ({"rope_style": "quarters"}, "'interleaved' or 'halves'"),
        ({"tied_embeddings": 1}, "true or false"),
        ({"key_value_heads": 3}, "multiple of key_value_heads"),
        ({"head_width": 5}, "even"),
        ({"rope_stretching": 1.0}, "no field"),
        ({"rope_scaling": "linear"}, "rope_scaling must be those"),
        ({"rope_factor": 2.0}, "rope_scaling must be those"),
        ({"window_period": 2}, "beside a window"),
        ({"experts_used": 2}, "experts_used"),
        ({"experts_used": 3, "experts": 2}, "experts_used"),
        ({"layers": 4096, "experts": 17, "experts_used": 2}, "all layers together"),
    ],
)
def test_unlawful_fields_are_refused(change, message):
    with pytest.raises(FormatError, match=message) as caught:
        LLAMA.check_fields(llama_fields(**change))
    assert caught.value.code == "E_ARCH_FIELD"


def test_every_field_is_required():
    for name in llama_fields():
        with pytest.raises(FormatError, match=name):
            LLAMA.check_fields(without(llama_fields(), name))


def test_the_tensors_of_a_model_pass_the_check():
    fields = llama_fields()
    shapes = LLAMA.tensors(fields)
    check(Architecture("llama", fields), shapes)
    assert list(shapes)[:2] == ["token_embd.weight", "blk.0.attn_norm.weight"]
    assert list(shapes)[-1] == "output_norm.weight"
    assert len(shapes) == 9 * fields["layers"] + 2
    assert shapes["blk.1.attn_k.weight"] == (2 * 4, 16)


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"blk.1.attn_q.weight": (16, 15)}, "blk.1.attn_q.weight", "heads * head_width, width"),
        ({"output_norm.weight": None}, "output_norm.weight", "missing"),
        ({"blk.2.attn_q.weight": (16, 16)}, "blk.2.attn_q.weight", "no model"),
        ({"output.weight": (20, 16)}, "output.weight", "no model"),
    ],
)
def test_wrong_tensors_are_named(change, name, said):
    fields = llama_fields()
    shapes = LLAMA.tensors(fields) | change
    shapes = {key: shape for key, shape in shapes.items() if shape is not None}
    with pytest.raises(FormatError) as caught:
        check(Architecture("llama", fields), shapes)
    assert caught.value.code == "E_ARCH_TENSOR"
    assert caught.value.where == name
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["rope_factors_long.weight", "blk.1.attn_q_norm.weight"])
def test_tensors_of_unsupported_features_are_told_from_damage(name):
    fields = llama_fields()
    with pytest.raises(UnsupportedError, match=name):
        check(Architecture("llama", fields), LLAMA.tensors(fields) | {name: (4,)})


def test_hugging_face_names_cover_every_tensor_once():
    fields = llama_fields(tied_embeddings=False)
    names = LLAMA.hugging_face_names(fields)
    assert sorted(names.values()) == sorted(LLAMA.tensors(fields))
    assert names["model.layers.1.mlp.down_proj.weight"] == "blk.1.ffn_down.weight"
    assert names["lm_head.weight"] == "output.weight"
    assert "lm_head.weight" not in LLAMA.hugging_face_names(llama_fields())


def test_unknown_families_are_unsupported():
    for find in (family_named, family_of_gguf, family_of_hugging_face):
        for name in ("mamba", None):
            with pytest.raises(UnsupportedError, match="llama"):
                find(name)
