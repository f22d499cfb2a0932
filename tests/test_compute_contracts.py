"""Contracts from a recipe through a file to what `inspect` shows and `run` computes."""

import json
from importlib.resources import files

import pytest

from refquant.cli import main
from refquant.formats import open_checkpoint
from refquant.formats.compute import compute_contracts
from refquant.formats.rq import write_checkpoint

RECIPE = """
recipe = 1
[[rules]]
role = "norm"
scheme = "keep"
[[rules]]
role = "embedding"
scheme = "ggml/q8_0"
[[rules]]
scheme = "aeq/int8"
compute = "dynamic"
activation = "litert_symmetric"
"""


def printed(capsys, *arguments):
    status = main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def contracts_in(path):
    checkpoint = open_checkpoint(path)
    found = compute_contracts(checkpoint.extensions, checkpoint.tensors)
    return {name: own.name for name, own in found.items()}


@pytest.fixture
def made(tmp_path, capsys):
    recipe, output = tmp_path / "recipe.toml", tmp_path / "made.rq"
    recipe.write_text(RECIPE, "utf-8")
    assert printed(capsys, "quantize", "demo", "-o", output, "--recipe", recipe)[0] == 0
    return output


def text(capsys, path, *more):
    status, out, err = printed(capsys, "run", path, "-p", "It is", "-n", "6", "--json", *more)
    assert status == 0, err
    return json.loads(out)


def test_a_file_is_computed_as_its_recipe_says(made, capsys):
    status, out, _ = printed(capsys, "inspect", made)
    assert status == 0
    assert "litert_symmetric for 35 tensors" in out
    assert set(contracts_in(made).values()) == {"litert_symmetric"}
    assert "token_embd.weight" not in contracts_in(made)
    facts = json.loads(printed(capsys, "inspect", made, "--json")[1])
    assert facts["compute"] == {"litert_symmetric": 35}
    own, plain = (
        text(capsys, made, "--logprobs", *more) for more in ((), ("--compute", "weight-only"))
    )
    assert own["logprobs"] != plain["logprobs"]
    assert own["tokens"] == plain["tokens"]
    assert (own["compute"], plain["compute"]) == ("litert_symmetric", "weight-only")


def test_a_copy_keeps_contracts_and_another_recipe_replaces_them(made, tmp_path, capsys):
    kept, other = tmp_path / "kept.rq", tmp_path / "other.rq"
    write_checkpoint(kept, open_checkpoint(made))
    assert contracts_in(kept) == contracts_in(made)
    recipe = tmp_path / "again.toml"
    recipe.write_text(
        'recipe = 1\n[[rules]]\nrole = "feedforward"\nscheme = "keep"\ncompute = "dynamic"\n'
        'activation = "xnnpack_asymmetric"\n[[rules]]\nrole = "attention"\nscheme = "aeq/int4"\n',
        "utf-8",
    )
    assert printed(capsys, "quantize", made, "-o", other, "--recipe", recipe)[0] == 0
    found = contracts_in(other)
    assert set(found.values()) == {"xnnpack_asymmetric"}
    assert all(".ffn_" in name for name in found)
    assert found


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--compute", "litert"), 2, "not 'litert'"),
        (("--compute", "ggml_block"), 4, "aeq/int8"),
    ],
)
def test_mistakes_are_named(arguments, status, words, made, capsys):
    code, _, err = printed(capsys, "run", made, "-p", "It is", "-n", "2", *arguments)
    assert code == status
    assert words in err


STATIC = """
recipe = 1
[[rules]]
role = "norm"
scheme = "keep"
[[rules]]
role = "embedding"
scheme = "ggml/q8_0"
[[rules]]
role = "attention"
scheme = "aeq/int8"
compute = "static"
activation = "int8_static"
[[rules]]
scheme = "aeq/int8"
compute = "static"
activation = "int16_static"
"""


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    recipe, output = folder / "recipe.toml", folder / "static.rq"
    recipe.write_text(STATIC, "utf-8")
    asked = ["quantize", "demo", "-o", output, "--recipe", recipe]
    text_of = files("refquant") / "demo" / "heldout.txt"
    calibration = ["--calibrate", text_of, "--calibration-windows", "1"]
    assert main([str(one) for one in (*asked, *calibration)]) == 0
    return output


def test_static_contracts_and_their_scales_are_stored_shown_and_obeyed(static, capsys):
    found = contracts_in(static)
    assert sorted(set(found.values())) == ["int16_static", "int8_static"]
    shown = printed(capsys, "inspect", static, "--tensors")[1]
    assert "int8_static for 20 tensors" in shown
    assert "int16_static for 15 tensors" in shown
    facts = json.loads(printed(capsys, "inspect", static, "--tensors", "--json")[1])
    listed = {one["name"]: one.get("compute") for one in facts["tensors"]}
    assert listed["token_embd.weight"] is None
    query, key = listed["blk.0.attn_q.weight"], listed["blk.0.attn_k.weight"]
    assert query["name"] == "int8_static"
    # Both read the same states, and write others.
    for part in ("input_scale", "input_zero_point"):
        assert query["parameters"][part] == key["parameters"][part]
    assert query["parameters"]["output_scale"] != key["parameters"]["output_scale"]
    assert f"in {query['parameters']['input_scale']:.4g} around" in shown
    assert listed["blk.0.ffn_up.weight"]["parameters"]["input_zero_point"] == 0
    own = text(capsys, static, "--logprobs")
    for compute in ("weight-only", "int8_static_double", "int16_static_optimized"):
        other = text(capsys, static, "--logprobs", "--compute", compute)
        assert other["logprobs"] != own["logprobs"]
        assert other["tokens"] == own["tokens"]


def test_static_rules_need_a_text(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(STATIC, "utf-8")
    code, _, err = printed(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", "--recipe", recipe)
    assert code == 2
    assert "--calibrate" in err


def test_scales_that_nobody_calibrated_cannot_be_asked_for(made, capsys):
    code, _, err = printed(capsys, "run", made, "-p", "It", "--compute", "int8_static")
    assert code == 4
    assert "no calibrated scales of 8 bits" in err
