"""Schemes chosen for a size: below the target, the best of what fits, and told what cannot be."""

import re
from itertools import product

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.quantization import target as chooser
from refquant.quantization.target import Choice, Target, target_recipe
from refquant.recipe import Rule, assign
from refquant.tensor import quantize
from tests.command_line import call, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return small_model(folder / "m.rq", width=256, head_width=64, feedforward_width=320)


def floats(**tensors):
    stored = {name: quantize(x, "float/f32") for name, x in tensors.items()}
    return Checkpoint(None, stored, {}, None, {}, {})


@pytest.mark.parametrize("size", [700_000, 900_000, 1_100_000])
def test_the_file_is_no_longer_than_its_target(capsys, tmp_path, model, size):
    found = call(capsys, "quantize", model, "-o", tmp_path / "x.rq", "--target-size", f"{size}")
    assert found.status == 0
    length = (tmp_path / "x.rq").stat().st_size
    # A step that does not fit ends a matrix's way; the largest has 83 thousand weights. What
    # bounds the header is the rest.
    assert size - 100_000 < length <= size
    assert re.search(r"refquant: .* chosen; from .* to .* can be reached", found.err)


def test_bits_are_those_of_all_tensors(capsys, tmp_path, model):
    command = ("quantize", model, "-o", tmp_path / "x.rq", "--target-bpw", "5")
    plan = call(capsys, *command, "--dry-run", "--json").json
    assert 4.8 < plan["bits_per_weight"] <= 5
    assert len({one["to"] for one in plan["tensors"]}) > 3
    assert not (tmp_path / "x.rq").exists()
    written = call(capsys, *command, "--json").json
    assert written["tensors"] == plan["tensors"]
    assert call(capsys, "verify", tmp_path / "x.rq", "--against", model).status in (0, 2)


def test_matrices_with_more_to_lose_get_more():
    """Two matrices of one size: one that 4 bits keep, and one that they do not."""
    chance = np.random.default_rng(1)
    smooth = chance.choice(np.arange(-7, 8), (64, 256)).astype(np.float32)
    rough = chance.standard_t(2, (64, 256)).astype(np.float32)
    checkpoint = floats(**{"blk.0.ffn_up.weight": rough, "blk.0.ffn_down.weight": smooth})
    recipe, _ = target_recipe(checkpoint, Target(bits=6.5), candidates=("q4_0", "q8_0"))
    given = {one.tensor: one.target_scheme for one in assign(checkpoint, recipe)}
    assert given == {
        "blk.0.ffn_up.weight": "ggml/q8_0",
        "blk.0.ffn_down.weight": "ggml/q4_0",
    }


def test_steps_come_within_one_step_of_the_best(monkeypatch):
    """Against every combination: what is lost beside the best is at most one step's gain."""
    chance = np.random.default_rng(5)
    for _ in range(20):
        hulls = {}
        for name in "abcd":
            sizes = np.sort(chance.choice(np.arange(10, 60), 4, replace=False))
            costs = np.sort(chance.exponential(10, 4))[::-1]
            choices = [
                Choice(str(i), int(n), float(c), 0.0)
                for i, (n, c) in enumerate(zip(sizes, costs, strict=True))
            ]
            hulls[name] = chooser._hull(choices)
        room = int(chance.integers(10, 120))
        chosen = chooser._spent(hulls, room)
        limit = room + sum(hull[0].nbytes for hull in hulls.values())
        assert sum(one.nbytes for one in chosen.values()) <= limit
        fitting = [c for c in product(*hulls.values()) if sum(one.nbytes for one in c) <= limit]
        best = min(sum(one.cost for one in c) for c in fitting)
        step = max(hull[0].cost - hull[-1].cost for hull in hulls.values())
        assert sum(one.cost for one in chosen.values()) <= best + step


def test_rules_before_decide_first_and_routers_stay(capsys, tmp_path):
    chance = np.random.default_rng(2)
    x = chance.normal(size=(32, 256)).astype(np.float32)
    names = ("blk.0.ffn_gate_inp.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight")
    checkpoint = floats(**dict.fromkeys(names, x))
    before = (Rule(scheme="ggml/q5_0", match=".*attn_q.*"),)
    recipe, _ = target_recipe(checkpoint, Target(bits=20), before=before)
    given = {one.tensor: one.target_scheme for one in assign(checkpoint, recipe)}
    assert given[names[0]] == "float/f32"
    assert given[names[1]] == "ggml/q5_0"


def test_what_cannot_be_reached_is_told_before_anything_is_measured(capsys, monkeypatch, model):
    monkeypatch.setattr("refquant.quantization.target._choices", None)
    checkpoint = open_checkpoint(model)
    with pytest.raises(UsageError, match=r"from 2\.\d+ to 32 can, with ggml/q2_k") as caught:
        target_recipe(checkpoint, Target(bits=2))
    assert "a target of 2 bits for each weight cannot be reached" in str(caught.value)
    with pytest.raises(
        UsageError, match=r"0\.10 MB cannot be reached: from (\d\.\d\d) MB"
    ) as caught:
        target_recipe(checkpoint, Target(nbytes=100_000))
    monkeypatch.undo()
    told = re.search(r"from (\d\.\d\d) MB", str(caught.value))
    target_recipe(checkpoint, Target(nbytes=int(float(told[1]) * 1e6)))
