"""Each family's own features: what others state becomes fields, what cannot run is named."""

import json

import pytest

from refquant.architectures import FAMILIES, check, family_of_gguf, family_of_hugging_face
from refquant.architectures.family import Architecture
from refquant.errors import FormatError, UnsupportedError
from tests.architecture_models import GOLDEN, NAMES, golden

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [2.0, 2.0]}


def config_of(name):
    return json.loads((GOLDEN / name / "config.json").read_text())


def read(config):
    family = family_of_hugging_face(config.get("model_type"))
    fields = family.from_hugging_face(config)
    family.check_fields(fields)
    return fields


REFUSED = {
    "gemma3 with vision": ("gemma3", {"text_config": {}}, "vision"),
    "gemma3 in both directions": (
        "gemma3",
        {"use_bidirectional_attention": True},
        "use_bidirectional_attention",
    ),
    "gemma3 with capped scores": (
        "gemma3",
        {"attn_logit_softcapping": 5.0},
        "attn_logit_softcapping",
    ),
    "gemma2 with relu": ("gemma2", {"hidden_activation": "relu"}, "hidden_activation"),
    "layers without a pattern": (
        "gemma2",
        {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        "every n-th",
    ),
    "phi3 with longrope": ("phi3", {"rope_scaling": LONGROPE, "rope_parameters": None}, "longrope"),
    "phi3 turning a part": ("phi3", {"partial_rotary_factor": 0.75}, "partial_rotary_factor"),
    "qwen2 with a window": ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
    "qwen3 with biases": ("qwen3", {"attention_bias": True}, "attention_bias"),
    "qwen3_moe with plain layers": ("qwen3_moe", {"mlp_only_layers": [0]}, "without experts"),
    "qwen3_moe with few experts": ("qwen3_moe", {"decoder_sparse_step": 2}, "without experts"),
    "gpt2 with layer scales": (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx",
    ),
    "gpt2 with relu": ("gpt2", {"activation_function": "relu"}, "activation_function"),
    "gpt2 without scale": ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
    "gpt_oss with another limit": ("gpt_oss", {"swiglu_limit": 8.0}, "swiglu_limit"),
    "bert that writes": ("bert", {"is_decoder": True}, "is_decoder"),
    "bert with relative positions": (
        "bert",
        {"position_embedding_type": "relative_key"},
        "position_embedding_type",
    ),
    "bert with relu": ("bert", {"hidden_act": "relu"}, "hidden_act"),
    "llada with blocks of its own": ("llada", {"block_type": "sequential"}, "block_type"),
    "llada with biases": ("llada", {"include_bias": True}, "include_bias"),
    "sdar with a window": ("sdar", {"use_sliding_window": True}, "use_sliding_window"),
}


@pytest.mark.parametrize(("name", "change", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_run_is_named(name, change, named):
    with pytest.raises(UnsupportedError, match=named):
        read(config_of(name) | change)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_becomes_the_fields_of_its_model(name):
    checkpoint, _ = golden(name)
    assert read(config_of(name)) == checkpoint.architecture.fields
    shapes = {key: tensor.shape for key, tensor in checkpoint.tensors.items()}
    check(checkpoint.architecture, shapes)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_needed_and_no_other(name):
    checkpoint, _ = golden(name)
    shapes = {key: tensor.shape for key, tensor in checkpoint.tensors.items()}
    for missing in shapes:
        with pytest.raises(FormatError, match="E_ARCH_TENSOR"):
            check(checkpoint.architecture, {k: s for k, s in shapes.items() if k != missing})
    with pytest.raises(FormatError, match="E_ARCH_TENSOR"):
        check(checkpoint.architecture, shapes | {"blk.0.more.weight": (1,)})


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_an_unknown_field_is_refused(name):
    family = FAMILIES[name]
    model = next(one for one in NAMES if golden(one)[0].architecture.family == name)
    fields = golden(model)[0].architecture.fields
    family.check_fields(fields)
    with pytest.raises(FormatError, match="no field 'wings'"):
        family.check_fields({**fields, "wings": 2})
    for spec in family.fields:
        short = {key: value for key, value in fields.items() if key != spec.name}
        if not spec.optional:
            with pytest.raises(FormatError, match=spec.name):
                family.check_fields(short)


GEMMA3 = {
    "gemma3.block_count": 18,
    "gemma3.context_length": 32768,
    "gemma3.embedding_length": 640,
    "gemma3.feed_forward_length": 2048,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.value_length": 256,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
    "gemma3.attention.sliding_window": 512,
    "gemma3.rope.freq_base": 1e6,
    "gemma3.vocab_size": 262144,
}


def test_the_published_gemma3_of_270_million():
    """The numbers of the file that REFQUANT_GEMMA3 names, without its bytes."""
    fields = family_of_gguf("gemma3").from_gguf(GEMMA3, ())
    FAMILIES["gemma3"].check_fields(fields)
    assert (fields["window"], fields["window_period"]) == (512, 6)
    assert (fields["rope_theta"], fields["rope_theta_windowed"]) == (1e6, 1e4)
    assert (fields["score_divisor"], fields["norms_less_one"]) == (256.0, False)
    assert fields["tied_embeddings"] is True


def test_the_largest_gemmas_scale_scores_in_their_own_way():
    for name, layers, divisor in (("gemma2", 46, 144.0), ("gemma3", 62, 168.0)):
        metadata = {key.replace("gemma3", name): value for key, value in GEMMA3.items()}
        metadata |= {f"{name}.block_count": layers, f"{name}.attention.head_count": 32}
        metadata |= {f"{name}.embedding_length": int(32 * divisor)}
        metadata |= {f"{name}.attention.head_count_kv": 16}
        assert FAMILIES[name].from_gguf(metadata, ())["score_divisor"] == divisor


def test_a_pattern_of_flags_is_a_period():
    key = "gemma3.attention.sliding_window_pattern"
    flags = [True, True, False] * 6
    assert FAMILIES["gemma3"].from_gguf(GEMMA3 | {key: flags}, ())["window_period"] == 3
    assert FAMILIES["gemma3"].from_gguf(GEMMA3 | {key: 2}, ())["window_period"] == 2
    with pytest.raises(UnsupportedError, match="every n-th"):
        FAMILIES["gemma3"].from_gguf(GEMMA3 | {key: [True, False, False]}, ())
    with pytest.raises(FormatError, match="pattern"):
        FAMILIES["gemma3"].from_gguf(GEMMA3 | {key: "often"}, ())


def test_sdar_has_no_gguf_file():
    with pytest.raises(UnsupportedError, match="sdar"):
        family_of_gguf("sdar")
    with pytest.raises(UnsupportedError, match="SDAR"):
        FAMILIES["sdar"].from_gguf({}, ())


def test_a_mask_lies_in_the_vocabulary():
    fields = golden("llada")[0].architecture.fields
    with pytest.raises(FormatError, match="mask_token"):
        FAMILIES["llada"].check_fields({**fields, "mask_token": 20})


def test_tensors_of_other_features_are_told_from_damage():
    architecture = golden("phi3")[0].architecture
    shapes = FAMILIES["phi3"].tensors(architecture.fields) | {"rope_factors_long.weight": (2,)}
    with pytest.raises(UnsupportedError, match="longrope"):
        check(Architecture("phi3", architecture.fields), shapes)
