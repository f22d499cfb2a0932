"""From a checkpoint to a model: what is refused, and with which words."""

import dataclasses

import numpy as np
import pytest

from refquant.architectures import FAMILIES
from refquant.errors import FormatError, LimitError, UnsupportedError, UsageError
from refquant.runtime import load_model
from refquant.runtime.families import ENCODERS, LOADERS
from refquant.tensor import quantize
from tests.runtime_models import checkpoint_of, llama_fields, random_checkpoint, random_tensors


def changed(checkpoint, **parts):
    return dataclasses.replace(checkpoint, **parts)


def test_every_family_has_a_loader():
    assert LOADERS.keys() | ENCODERS == set(FAMILIES)
    assert not LOADERS.keys() & ENCODERS


def test_a_checkpoint_without_architecture_cannot_run():
    with pytest.raises(UnsupportedError, match="names no architecture"):
        load_model(changed(random_checkpoint(), architecture=None))


def test_an_unknown_weight_mode_is_refused():
    with pytest.raises(UsageError, match="float32, u8, packed, not"):
        load_model(random_checkpoint(), "float16")


def test_missing_tensors_are_noticed_before_any_work():
    checkpoint = random_checkpoint()
    tensors = {k: v for k, v in checkpoint.tensors.items() if k != "blk.1.ffn_up.weight"}
    with pytest.raises(FormatError, match="E_ARCH_TENSOR"):
        load_model(changed(checkpoint, tensors=tensors))


def test_the_alias_of_tied_embeddings_is_known():
    alias = {"output.weight": "token_embd.weight"}
    checkpoint = random_checkpoint()
    plain, aliased = load_model(checkpoint), load_model(changed(checkpoint, aliases=alias))
    logits = [model.next_logits([1, 2], model.new_cache(2)) for model in (plain, aliased)]
    assert np.array_equal(*logits)


def test_an_untied_model_may_alias_its_output_matrix():
    fields = llama_fields(tied_embeddings=False)
    tensors = random_tensors(fields)
    del tensors["output.weight"]
    stored = checkpoint_of(tensors, fields)
    model = load_model(changed(stored, aliases={"output.weight": "token_embd.weight"}))
    tied = load_model(checkpoint_of(tensors, llama_fields()))
    logits = [each.next_logits([1, 2], each.new_cache(2)) for each in (model, tied)]
    assert np.array_equal(*logits)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["blk.1.ffn_down.weight", "output_norm.weight"])
def test_weights_that_are_not_finite_are_named(bad, name):
    checkpoint = random_checkpoint()
    values = checkpoint.tensors[name].dequantize().copy()
    values[(1,) * values.ndim] = bad
    tensors = dict(checkpoint.tensors) | {name: quantize(values, "float/f32")}
    spoiled = changed(checkpoint, tensors=tensors)
    with pytest.raises(FormatError, match="finite") as caught:
        load_model(spoiled)
    assert caught.value.where == name
    assert caught.value.code == "E_NOT_FINITE"


def test_packed_weights_that_are_not_finite_are_named_when_they_are_used():
    checkpoint = random_checkpoint()
    name = "blk.1.ffn_down.weight"
    values = checkpoint.tensors[name].dequantize().copy()
    values[3, 4] = np.nan
    tensors = dict(checkpoint.tensors) | {name: quantize(values, "float/f32")}
    model = load_model(changed(checkpoint, tensors=tensors), "packed")
    cache = model.new_cache(4)
    with pytest.raises(FormatError, match=r"\[3, 4\]") as caught:
        model.next_logits([1], cache)
    assert caught.value.where == name
    assert cache.length == 0


def test_finite_weights_that_overflow_are_told_apart():
    checkpoint = random_checkpoint()
    huge = quantize(np.full(16, 3e38, np.float32), "float/f32")
    tensors = dict(checkpoint.tensors) | {"output_norm.weight": huge}
    model = load_model(changed(checkpoint, tensors=tensors))
    with pytest.raises(FormatError, match="every weight is finite"):
        model.next_logits([1], model.new_cache(4))


@pytest.mark.parametrize("ids", [[], [20], [-1], [[1, 2]]])
def test_impossible_token_ids_are_refused(ids):
    model = load_model(random_checkpoint())
    with pytest.raises(UsageError, match="token ids"):
        model.forward(ids, model.new_cache(4))


def test_a_full_cache_is_refused_and_left_as_it_was():
    model = load_model(random_checkpoint())
    cache = model.new_cache(3)
    model.forward([1, 2], cache)
    with pytest.raises(LimitError, match="2 of 3"):
        model.forward([1, 2], cache)
    assert cache.length == 2
    assert model.new_cache().capacity == model.context


def test_truncating_the_cache_forgets():
    model = load_model(random_checkpoint())
    straight, detour = model.new_cache(8), model.new_cache(8)
    for cache in (straight, detour):
        model.forward([1, 2], cache)
    model.forward([9, 9, 9], detour)
    detour.truncate(2)
    assert np.array_equal(model.forward([3], detour), model.forward([3], straight))
