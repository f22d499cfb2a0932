"""Recipes as documents: what is read, and how each mistake is told."""

import pytest

from refquant.errors import UsageError
from refquant.recipe import Recipe, parse_recipe, read_recipe, recipe_from_data


def rule(**fields):
    return {"rules": [{"scheme": "q8_0"}, {"scheme": "q4_0", **fields}]}


def test_toml_and_json_say_the_same():
    toml = """
    name = "two"
    [[rules]]
    role = ["embedding", "head"]
    scheme = "q8_0"
    [[rules]]
    layers = "0-3,7"
    scheme = "ggml/q4_0"
    compute = "dynamic"
    activation = "ggml_block"
    """
    recipe = parse_recipe(toml, "two.toml")
    assert recipe.rules[0].roles == ("embedding", "head")
    data = recipe.to_data()
    assert recipe_from_data(data, "data") == recipe
    assert data["recipe"] == 1
    assert "match" not in data["rules"][0]


MISTAKES = [
    ({}, "$: Object missing required field `rules`"),
    ({"rules": []}, "$.rules is empty"),
    ({"rules": [{}]}, "$.rules[0]: Object missing required field `scheme`"),
    ({"recipe": 2, "rules": [{"scheme": "q4_0"}]}, "$.recipe"),
    ({"rule": [{"scheme": "q4_0"}], "rules": []}, "$: unknown key 'rule'; did you mean 'rules'?"),
    (rule(rol="head"), "$.rules[1]: unknown key 'rol'; did you mean 'role'?"),
    (rule(role="attentoin"), "$.rules[1].role: 'attentoin' is none of embedding, attention"),
    (rule(role=["head", "norms"]), "did you mean 'norm'?"),
    (rule(scheme="q4_00"), "$.rules[1].scheme: unknown scheme 'q4_00'; did you mean"),
    (rule(scheme="int/affine[bits=99]"), "$.rules[1].scheme: "),
    (rule(scheme="ggml/iq2_xxs"), "$.rules[1].scheme: "),
    (rule(match="blk.(1"), "$.rules[1].match: 'blk.(1' is no regular expression"),
    (rule(layers="1..3"), "$.rules[1].layers: '1..3' is no list such as 0-3,29"),
    (rule(layers="-1"), "$.rules[1].layers"),
    (rule(layers=3), "$.rules[1].layers: Expected `str`, got `int`"),
    (rule(minimum_weights=-1), "$.rules[1].minimum_weights: it is negative"),
    (rule(compute="dynamc"), "$.rules[1].compute: 'dynamc' is none of"),
    (rule(compute="dynamic"), "$.rules[1].activation: nothing found; a dynamic rule names one of"),
    (rule(compute="dynamic", activation="int8_static"), "$.rules[1].activation: 'int8_static'"),
    (
        rule(compute="dynamic", activation="xnnpack_asymetric"),
        "did you mean 'xnnpack_asymmetric'?",
    ),
    (rule(activation="ggml_block"), "$.rules[1].activation: weight-only rules leave"),
    (rule(algorithm="gtpq"), "did you mean 'gptq'?"),
    (rule(scheme="keep", algorithm="gptq"), "$.rules[1].algorithm: a rule that keeps tensors"),
    (rule(fallback=["q8_1x"]), "$.rules[1].fallback: unknown scheme"),
    ({**rule(), "precision": "float61"}, "$.precision: 'float61' is none of"),
    ({**rule(), "fallback": ["nothing"]}, "$.fallback: unknown scheme"),
]


@pytest.mark.parametrize(("data", "message"), MISTAKES, ids=[text for _, text in MISTAKES])
def test_a_mistake_is_told_with_its_place(data, message):
    with pytest.raises(UsageError) as caught:
        recipe_from_data(data, "mine.toml")
    assert str(caught.value).startswith("reading recipe mine.toml: ")
    assert message in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("text", ["rules = [", '{"rules": ', "\x00", "{}{"])
def test_text_that_is_neither_toml_nor_json(text):
    with pytest.raises(UsageError, match=r"reading recipe mine\.toml: "):
        parse_recipe(text, "mine.toml")


def test_a_file_of_another_kind_is_not_read_whole(tmp_path):
    (tmp_path / "model.gguf").write_bytes(bytes(1 << 21))
    with pytest.raises(UsageError, match="is it a recipe"):
        read_recipe(tmp_path / "model.gguf")


def test_a_recipe_is_hashable_and_has_a_value():
    assert Recipe(rules=()) == Recipe(rules=())
