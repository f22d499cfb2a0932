"""Recipes in the words of other tools: each comes to the schemes that its tool means."""

import json
from collections import Counter

import pytest

from refquant.errors import UnsupportedError, UsageError
from refquant.recipe import Recipe, Rule, assign
from refquant.upstream import ai_edge, llama_cpp, torch_to_nnef
from refquant.upstream.ai_edge_quantizer import quantizer_recipe
from refquant.upstream.facts import ModelFacts, facts_of
from refquant.upstream.names import recipe_named, recipe_names
from refquant.upstream.torchchat import QUANTIZERS, torchchat_recipe
from tests.runtime_models import random_checkpoint

TIED = ModelFacts(layers=30, heads=9, key_value_heads=3, is_tied=True)
SEPARATE = ModelFacts(layers=30, heads=9, key_value_heads=3)

REGISTRY = {
    "mine": lambda model: Recipe(rules=(Rule(scheme="q8_0", layers=f"0-{model.layers - 1}"),)),
    "nothing": lambda _model: None,
}


def kinds(recipe):
    """(role or pattern, scheme) of each rule."""
    return [(rule.match or rule.role or "all", rule.scheme) for rule in recipe.rules]


# ------------------------------------------------------------------------------------- AI Edge


def test_the_example_of_selective_quantization():
    recipe = ai_edge.QuantConfig(
        generative_recipe=ai_edge.GenerativeQuantRecipe(
            default=ai_edge.create_layer_quant_fp16(),
            embedding=ai_edge.create_layer_quant_int8_dynamic(),
            attention=ai_edge.create_layer_quant_int4_block(32),
            feedforward=ai_edge.create_layer_quant_int4_block(256),
        )
    ).to_recipe()
    assert kinds(recipe) == [
        ("feedforward", "aeq/int4[sym,block=256]"),
        ("attention", "aeq/int4[sym,block=32]"),
        ("embedding", "aeq/int8[sym,channel]"),
        ("all", "aeq/fp16"),
    ]
    assert [rule.compute for rule in recipe.rules] == ["dynamic"] * 3 + ["weight-only"]


def test_layers_of_their_own_come_before_all():
    other = ai_edge.create_layer_quant_int8_weight_only()
    recipe = ai_edge.GenerativeQuantRecipe(
        default=ai_edge.create_layer_quant_int8_dynamic(), attention={2: other, 0: other}
    ).to_recipe()
    assert [rule.layers for rule in recipe.rules] == ["0", "2", ""]


@pytest.mark.parametrize("name", ai_edge.NAMES)
def test_the_converters_names(name):
    (rule,) = recipe_named(name, TIED).rules
    expected = {
        "none": ("keep", "weight-only"),
        "dynamic_int8": ("aeq/int8[sym,channel]", "dynamic"),
        "weight_only_int8": ("aeq/int8[sym,channel]", "weight-only"),
        "fp16": ("aeq/fp16", "weight-only"),
        "dynamic_int4_block32": ("aeq/int4[sym,block=32]", "dynamic"),
        "dynamic_int4_block128": ("aeq/int4[sym,block=128]", "dynamic"),
    }
    assert (rule.scheme, rule.compute) == expected[name]


def test_older_names_are_the_newer_ones():
    assert ai_edge.quant_recipes.full_int8_dynamic_recipe() == ai_edge.full_dynamic_recipe()
    assert ai_edge.full_int8_weight_only_recipe() == ai_edge.full_weight_only_recipe()
    assert ai_edge.full_fp16_recipe().to_recipe().rules[0].scheme == "aeq/fp16"


def test_layers_that_the_runtime_does_not_have():
    wrong = ai_edge.create_layer_quant_dynamic(ai_edge.Dtype.INT4)
    with pytest.raises(UsageError, match="no layer with weights INT4, DYNAMIC_RANGE"):
        wrong.verify()
    with pytest.raises(UsageError, match="expected 32, 64, 128 or 256"):
        ai_edge.create_layer_quant_int4_block(48)
    with pytest.raises(UsageError, match="quantizes nothing"):
        ai_edge.GenerativeQuantRecipe().verify()


def entry(**changes):
    weights = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    config = {"weight_tensor_config": weights, "compute_precision": "INTEGER"}
    return {"regex": ".*", "operation": "*", "op_config": config, **changes}


def test_entries_of_ai_edge_quantizer_are_turned_round():
    recipe = quantizer_recipe(
        [
            entry(),
            entry(operation="EMBEDDING_LOOKUP", algorithm_key="no_quantize"),
            entry(operation="CONV_2D", algorithm_key="no_quantize"),
            entry(
                regex="ffn_down",
                algorithm_key="OCTAV",
                op_config={
                    "weight_tensor_config": {"num_bits": 4, "granularity": "BLOCKWISE_64"},
                    "compute_precision": "FLOAT",
                    "min_weight_elements": 100,
                },
            ),
        ]
    )
    assert kinds(recipe) == [
        (".*(?:ffn_down).*", "aeq/int4[sym,block=64,algorithm=octav]"),
        (("embedding",), "keep"),
        ("all", "aeq/int8[sym,channel]"),
    ]
    assert [rule.compute for rule in recipe.rules] == ["weight-only", "weight-only", "dynamic"]
    assert recipe.rules[0].minimum_weights == 100


def test_static_and_learned_entries():
    activations = {"num_bits": 16, "symmetric": True}
    config = {**entry()["op_config"], "activation_tensor_config": activations}
    (rule,) = quantizer_recipe([entry(op_config=config)]).rules
    assert (rule.compute, rule.activation) == ("static", "int16_static")
    (rule,) = quantizer_recipe([entry(algorithm_key="GPTQ")]).rules
    assert (rule.algorithm, rule.options["inverse"]) == ("gptq", "full")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected a list of entries"),
        ({"regex": ".*"}, "expected a list of entries"),
        ([entry(regx=".*")], "$[0]: unknown key 'regx'; did you mean 'regex'?"),
        ([entry(), entry(regex="(")], "$[1].regex: '(' is no regular expression"),
        ([entry(algorithm_key="OCTAVE")], "unknown 'OCTAVE'; did you mean 'OCTAV'?"),
        ([entry(algorithm_key="HADAMARD_ROTATION")], "does not rotate activations"),
        ([entry(op_config={"weight_tensor_config": {"num_bits": 3}})], "3, not 2, 4, 8"),
        ([entry(op_config={"compute_precision": "INT"})], "'INT', not INTEGER or FLOAT"),
    ],
)
def test_mistakes_in_entries(data, message):
    with pytest.raises((UsageError, UnsupportedError)) as caught:
        quantizer_recipe(data)
    assert message in str(caught.value)


# ----------------------------------------------------------------------------------- torchchat

EVERY_KEY = {
    '{"embedding": {"bitwidth": 8, "groupsize": 0}}': ["torchchat/embedding[bits=8,channel]"],
    '{"embedding": {"bitwidth": 4, "groupsize": 8}}': ["torchchat/embedding[bits=4,group=8]"],
    '{"linear:int8": {"bitwidth": 8, "groupsize": 0}}': ["torchchat/int8[channel]"],
    '{"linear:int8": {"groupsize": 8}}': ["torchchat/int8[group=8]"],
    "{'linear:int4': {'groupsize' : 32} }": ["torchao/int4_tinygemm[group=32,scale=f32]"],
    "{'linear:8da4w': {'groupsize' : 64} }": ["torchao/8da4w[sym,group=64,eps=eps]"],
    '{"linear:a8w4dq": {"groupsize": 256}}': ["torchao/8da4w[sym,group=256,eps=eps]"],
    '{"linear:a8wxdq": {"bitwidth": 3, "groupsize": -1}}': ["torchao/int3[sym,channel]"],
    '{"embedding:wx": {"bitwidth": 2, "groupsize": 32}}': ["torchao/int2[asym,group=32]"],
    '{"linear:afpwx": {"bitwidth": 4, "groupsize": 256}}': ["torchao/afpwx[bits=4,group=256]"],
    '{"linear:afpwx": {}, "precision": {"dtype": "bf16"}}': ["torchao/afpwx[scale=bf16]"],
    "{'linear:gptq': {'groupsize' : 32} }": ["torchao/int4_tinygemm[group=32,scale=f32]"],
    "{'linear:hqq': {'groupsize' : 64} }": ["torchao/hqq[bits=4,group=64,scale=f32]"],
}


@pytest.mark.parametrize("text", EVERY_KEY)
def test_torchchats_dictionaries(text):
    from refquant import scheme

    found = [scheme(rule.scheme).name for rule in torchchat_recipe(text).rules]
    assert found == [scheme(name).name for name in EVERY_KEY[text]]


def test_precision_decides_the_scales_and_the_rest():
    text = '{"embedding": {"bitwidth": 4, "groupsize": 32}, "precision": {"dtype": "bf16"}}'
    recipe = torchchat_recipe(text)
    assert recipe.precision == "bfloat16"
    assert recipe.rules[0].scheme == "torchchat/embedding[bits=4,group=32,scale=bf16]"
    checkpoint = random_checkpoint()
    schemes = Counter(one.target_scheme for one in assign(checkpoint, recipe))
    assert set(schemes) == {"float/bf16", "torchchat/embedding[bits=4,group=32,scale=bf16]"}


def test_activations_and_algorithms_of_torchchat():
    (rule,) = torchchat_recipe({"linear:8da4w": {"groupsize": 32}}).rules
    assert (rule.compute, rule.activation) == ("dynamic", "torchao_per_token")
    assert torchchat_recipe({"linear:gptq": {}}).rules[0].algorithm == "gptq"


def test_a_file_of_torchchats(tmp_path):
    path = tmp_path / "mobile.json"
    path.write_text(json.dumps({"embedding": {"bitwidth": 4, "groupsize": 32}}))
    assert len(torchchat_recipe(str(path)).rules) == 1


MISTAKES = {
    '{"embeding": {}}': "unknown quantizer 'embeding'; did you mean 'embedding'?",
    '{"embedding": {"bitwdth": 8}}': "unknown option 'bitwdth'; did you mean 'bitwidth'?",
    '{"embedding": {"bitwidth": 3}}': "'bitwidth' is 3; expected (4, 8)",
    '{"embedding": 8}': "expected a dictionary of options, found 8",
    '{"linear:int4": {"groupsize": 48}}': "'groupsize' is 48",
    '{"linear:afpwx": {"bitwidth": 8}}': "'bitwidth' is 8; expected 1 to 7",
    '{"linear:afpwx": {"groupsize": 16}}': "'groupsize' is 16; expected (32, 64, 128, 256)",
    '{"linear:int8": {"node_type": "head"}}': "expected *, output or !output",
    '{"precision": {"dtype": "bf61"}}': "unknown dtype 'bf61'; did you mean 'bf16'?",
    '{"executor": {"accelerator": "cuda"}}': "'cuda' is not here",
    '{"embedding": ': "neither JSON nor a Python dictionary",
    "nowhere.json": "neither a dictionary nor a file",
    "{1, 2}": "expected a dictionary",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_torchchats_mistakes(text):
    with pytest.raises(UsageError) as caught:
        torchchat_recipe(text)
    assert MISTAKES[text] in str(caught.value)


def test_every_quantizer_is_tried_here():
    tried = {key for text in EVERY_KEY for key in QUANTIZERS if f"{key}'" in text.replace('"', "'")}
    assert set(QUANTIZERS) - tried <= {"precision", "executor", "linear:int4-gptq"}


# ------------------------------------------------------------------------------- torch-to-nnef


@pytest.mark.parametrize("name", torch_to_nnef.DEFAULT_COMPRESSION)
def test_compression_methods(name):
    checkpoint = random_checkpoint(width=64)
    recipe = torch_to_nnef.compression_recipe(name, facts_of(checkpoint))
    embedding = next(o for o in assign(checkpoint, recipe) if o.tensor == "token_embd.weight")
    tied = facts_of(checkpoint).is_tied
    assert embedding.target_scheme.startswith("t2n/q40") == (name != "min_max_q4_0")
    assert tied


def test_a_registry_of_ones_own():
    recipe = torch_to_nnef.compression_recipe("mine", TIED, "tests.test_upstream.REGISTRY")
    assert recipe.rules[0].layers == "0-29"
    for name, registry, message in (
        ("mine", "tests.nowhere.REGISTRY", "No module named"),
        ("mine", "tests.test_upstream.NOTHING", "has no attribute"),
        ("mine", "json", "compression registry 'json'"),
        ("mine", "tests.test_upstream.pytest", "is no dictionary"),
        ("min", "tests.test_upstream.REGISTRY", "did you mean 'mine'?"),
        ("nothing", "tests.test_upstream.REGISTRY", "returned NoneType, not a Recipe"),
        ("min_max_q4", "", "did you mean 'min_max_q4_0'?"),
    ):
        with pytest.raises(UsageError) as caught:
            torch_to_nnef.compression_recipe(name, TIED, registry)
        assert message in str(caught.value)


# ----------------------------------------------------------------------------------- llama.cpp


def test_the_layers_that_get_more_bits():
    recipe = llama_cpp.mixture("q4_k_m", TIED)
    down = next(rule for rule in recipe.rules if rule.match == llama_cpp.DOWN)
    assert (down.scheme, down.layers) == ("ggml/q6_k", "0-2,5,8,11,14,17,20,23,26-29")
    assert down.fallback == ("ggml/q8_0", "float/f16")


def test_a_separate_output_frees_the_embedding():
    schemes = dict(kinds(llama_cpp.mixture("Q4_K_M", SEPARATE)))
    assert (schemes["head"], schemes["embedding"]) == ("ggml/q6_k", "ggml/q4_k")
    assert dict(kinds(llama_cpp.mixture("Q4_K_M", TIED)))["embedding"] == "ggml/q6_k"


def test_types_that_cannot_be_written():
    with pytest.raises(UsageError, match="can be decoded but not encoded"):
        llama_cpp.mixture("IQ2_XS", TIED)
    with pytest.raises(UsageError, match="no mixture"):
        llama_cpp.mixture("Q7_K", TIED)


def test_types_for_single_tensors():
    (rule,) = llama_cpp.tensor_type_rules(["ffn_down=q6_k"])
    assert (rule.match, rule.scheme) == (".*(?:ffn_down).*", "q6_k")
    with pytest.raises(UsageError, match="expected REGEX=TYPE"):
        llama_cpp.tensor_type_rules(["ffn_down"])


@pytest.mark.parametrize("name", recipe_names())
def test_every_named_recipe_can_be_applied(name):
    checkpoint = random_checkpoint()
    recipe = recipe_named(name, facts_of(checkpoint))
    assert all(one.target_scheme for one in assign(checkpoint, recipe))


def test_a_name_that_nobody_gave():
    with pytest.raises(UsageError, match="did you mean 'dynamic_int8'"):
        recipe_named("dynamic_int", TIED)
