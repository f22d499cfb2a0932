"""Prompt caches in files: the same tokens as without, bound to a model, hostile files refused."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from refquant import quantize
from refquant.formats.rq import read, write_checkpoint
from refquant.runtime import GenerateOptions, generate, load_model
from refquant.runtime.prompt_cache import (
    PROMPT_CACHE_EXTENSION,
    load_prompt_cache,
    save_prompt_cache,
)
from tests.command_line import call, small_model
from tests.runtime_models import random_checkpoint

TEXT = "It is a truth universally acknowledged, that"
LONGER = TEXT + " a single man"


@pytest.fixture(scope="module")
def model():
    return load_model(random_checkpoint(seed=2), arithmetic_mode="exact")


def saved_prompt(model, path, tokens):
    cache = model.new_cache(len(tokens))
    model.forward(tokens, cache)
    save_prompt_cache(path, model, cache, tokens)
    return cache


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_a_saved_cache_is_read_back_bit_for_bit(model, kind, tmp_path):
    model = replace(model, cache_type=kind)
    tokens, path = [3, 1, 4, 1, 5, 9, 2, 6], tmp_path / "cache.rq"
    cache = saved_prompt(model, path, tokens)
    for prompt, expected in (
        ([*tokens, 7], 8),
        (tokens, 7),
        ([3, 1, 4, 8, 5], 3),
        ([7, 3, 1], 0),
        ([3], 0),
    ):
        again = load_prompt_cache(path, model, prompt, 20)
        assert (again.length, again.kind, again.capacity) == (expected, kind, 20)
        for ours, own in ((again.keys, cache.keys), (again.values, cache.values)):
            wanted = own.arrays(expected)
            for part, array in ours.arrays(expected).items():
                assert array.tobytes() == wanted[part].tobytes()


def test_exact_arithmetic_takes_a_cache_however_weights_are_held(model, tmp_path):
    tokens, path = [3, 1, 4, 1, 5, 9, 2, 6], tmp_path / "cache.rq"
    saved_prompt(model, path, tokens)
    packed = load_model(random_checkpoint(seed=2), "packed", "exact")
    assert load_prompt_cache(path, packed, tokens, 20).length == 7


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_continuing_gives_the_same_tokens_and_logits(model, kind, tmp_path):
    model = replace(model, cache_type=kind)
    prompt, path = [3, 1, 4, 1, 5, 9, 2, 6], tmp_path / "cache.rq"
    saved_prompt(model, path, prompt[:6])
    options = GenerateOptions(max_tokens=12, ignore_eos=True, logprobs=True)
    plain = [(step.token, step.logprob) for step in generate(model, prompt, options)]
    cache = load_prompt_cache(path, model, prompt, 30)
    assert cache.length == 6
    resumed = generate(model, prompt, options, cache=cache)
    assert [(step.token, step.logprob) for step in resumed] == plain
    assert resumed.timings.prompt_tokens == 2


def test_the_command_keeps_and_continues(capsys, tmp_path):
    path, plain = tmp_path / "cache.rq", call(capsys, "run", "demo", "-p", LONGER, "-n", 12)
    first = call(capsys, "run", "demo", "-p", TEXT, "-n", 5, "--save-cache", path)
    assert first.status == 0, first.err
    kept = len(read(path).extensions[PROMPT_CACHE_EXTENSION]["data"]["tokens"])
    found = call(capsys, "run", "demo", "-p", LONGER, "-n", 12, "--load-cache", path, "--stats")
    assert (found.status, found.out) == (0, plain.out)
    assert "from file    13 tokens" in found.err
    # What was written is kept too, but for its last token, of which nothing was computed.
    again = call(
        capsys, "run", "demo", "-p", TEXT, "-n", 5, "--json", "--load-cache", path,
        "--save-cache", path,
    )  # fmt: skip
    assert again.status == 0, again.err
    assert again.json["text"] == first.out.rstrip("\n")
    assert kept == len(again.json["prompt_ids"]) + 4
    assert again.json["stats"]["cached_tokens"] == len(again.json["prompt_ids"]) - 1
    other = call(capsys, "run", "demo", "-p", "You", "-n", 3, "--load-cache", path)
    assert other.status == 0
    assert "begins otherwise than this prompt" in other.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arith", "exact"), "--arith 'fast', and this run has 'exact'"),
        (("--weights", "float32"), "--weights 'auto', and this run has 'float32'"),
        (("--cache-type", "int8"), "--cache-type 'float32', and this run has 'int8'"),
        (("--precision", "bfloat16"), "another model"),
        (("--compute", "litert_symmetric"), "another model"),
    ],
)
def test_another_model_or_other_options_are_refused(arguments, words, capsys, tmp_path):
    path, asked = tmp_path / "cache.rq", ("-p", TEXT, "-n", 2)
    source = small_model(tmp_path / "one.rq", scheme="aeq/int8", seed=1)
    assert call(capsys, "run", source, *asked, "--save-cache", path).status == 0
    found = call(capsys, "run", source, *asked, "--load-cache", path, *arguments)
    assert (found.status, found.out) == (2, "")
    assert words in found.err
    other = small_model(tmp_path / "two.rq", scheme="aeq/int8", seed=2)
    found = call(capsys, "run", other, *asked, "--load-cache", path)
    assert found.status == 2
    assert "another model" in found.err
    # Where the model lies, and in which file, makes no difference.
    copy = small_model(tmp_path / "copy.rq", scheme="aeq/int8", seed=1)
    assert call(capsys, "run", copy, *asked, "--load-cache", path).status == 0


def spoiled(path, name, target):
    """The cache in `path` with something wrong, in `target`."""
    data = path.read_bytes()
    if name in ("bits", "short", "text"):
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        target.write_bytes({"bits": flipped, "short": data[:-70], "text": b"no cache"}[name])
        return
    found = read(path)
    tensors = {key: found.tensors[key] for key in found.tensors}
    entry = dict(found.extensions[PROMPT_CACHE_EXTENSION])
    facts = dict(entry["data"])
    if name == "nan":
        values = tensors["keys"].dequantize().copy()
        values[0, 0, 0, 0] = np.nan
        tensors["keys"] = quantize(values, "float/f32")
    elif name == "shape":
        tensors["keys"] = quantize(tensors["keys"].dequantize()[:, :, 1:], "float/f32")
    elif name == "scheme":
        tensors["keys"] = quantize(tensors["keys"].dequantize(), "float/f16")
    elif name == "missing":
        del tensors["values"]
    elif name == "tokens":
        facts["tokens"] = [*facts["tokens"][:-1], 10**6]
    elif name == "no tokens":
        facts["tokens"] = []
    elif name == "no data":
        facts = []
    extensions = {PROMPT_CACHE_EXTENSION: {**entry, "data": facts}}
    if name == "a model":
        extensions = {}
    write_checkpoint(target, replace(found, tensors=tensors, extensions=extensions))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bits", ""),
        ("short", ""),
        ("text", "E_"),
        ("nan", "finite keys and values"),
        ("shape", "E_SHAPE"),
        ("scheme", "float/f16"),
        ("missing", "found nothing"),
        ("tokens", "1000000 is no token id"),
        ("no tokens", "token ids"),
        ("no data", "no prompt cache"),
        ("a model", "no prompt cache"),
    ],
)
def test_hostile_files_are_told_from_caches(name, words, capsys, tmp_path):
    path, bad = tmp_path / "cache.rq", tmp_path / "bad.rq"
    source = small_model(tmp_path / "one.rq")
    assert call(capsys, "run", source, "-p", TEXT, "-n", 2, "--save-cache", path).status == 0
    spoiled(path, name, bad)
    found = call(capsys, "run", source, "-p", TEXT, "-n", 2, "--load-cache", bad)
    assert (found.status, found.out) == (3, "")
    assert "refquant:" in found.err
    assert words in found.err
    assert "Traceback" not in found.err


def test_nothing_but_a_cache_is_written_over(capsys, tmp_path):
    source = small_model(tmp_path / "one.rq")
    asked = ("run", source, "-p", TEXT, "-n", 2, "--save-cache")
    kept = source.read_bytes()
    assert call(capsys, *asked, source).status == 2
    other, text = small_model(tmp_path / "two.rq"), tmp_path / "notes.txt"
    text.write_text("dear diary", "utf-8")
    for target in (other, text):
        found = call(capsys, *asked, target)
        assert (found.status, found.out) == (2, "")
        assert "exists and is no prompt cache" in found.err
    assert call(capsys, *asked, tmp_path / "none" / "cache.rq").status == 2
    assert source.read_bytes() == kept
    assert text.read_text("utf-8") == "dear diary"
    empty = tmp_path / "empty"
    empty.touch()
    for _ in range(2):
        assert call(capsys, *asked, empty).status == 0


def test_a_write_that_fails_leaves_the_old_file(capsys, tmp_path, monkeypatch):
    source, path = small_model(tmp_path / "one.rq"), tmp_path / "cache.rq"
    asked = ("run", source, "-n", 2, "--save-cache", path)
    assert call(capsys, *asked, "-p", TEXT).status == 0
    kept = path.read_bytes()

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    found = call(capsys, *asked, "-p", LONGER)
    assert found.status != 0
    assert "No space left" in found.err
    assert path.read_bytes() == kept
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cache.rq", "one.rq"]


def test_it_goes_with_one_prompt_only(capsys, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("It is\n", "utf-8")
    for option in ("--save-cache", "--load-cache"):
        found = call(capsys, "run", "demo", "--prompts", prompts, option, tmp_path / "c.rq")
        assert found.status == 2
        assert f"{option} does not go with --prompts" in found.err
