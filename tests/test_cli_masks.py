"""Options of models that fill in masks, from the command line to the runtime."""

import json
from dataclasses import replace

import numpy as np
import pytest

from refquant.architectures import FAMILIES, Architecture
from refquant.formats.chat import ChatTurns
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import write_checkpoint
from refquant.runtime import DiffusionOptions, GenerateOptions, Tokenizer, generate, load_model
from refquant.tensor import quantize
from tests.architecture_models import golden
from tests.command_line import call, small_model
from tests.runtime_tokenizers import byte_level
from tests.test_cli_run import give_stdin

TURNS = ChatTurns({"user": ("U:", "\n"), "assistant": ("A:", "\n")}, "", "A:")
OPTIONS = {
    "--block 4": {"block": 4},
    "--block 4 --passes 2": {"block": 4, "passes": 2},
    "--threshold 0.002 --confidence margin": {"threshold": 0.002, "confidence": "margin"},
    "--block 2 --keep-blocks": {"block": 2, "keep_blocks": True},
}


def masked():
    """A random model of the dream family that can speak bytes."""
    random = np.random.default_rng(1)
    fields = {**golden("dream")[0].architecture.fields, "vocabulary": 259, "mask_token": 258}
    tensors = {
        name: quantize(random.normal(size=shape).astype(np.float32), "float/f32")
        for name, shape in FAMILIES["dream"].tensors(fields).items()
    }
    architecture = Architecture("dream", fields)
    return replace(
        Checkpoint(architecture, tensors, {}, byte_level(), {}, {}), extensions={}, chat=TURNS
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "masks.rq"
    write_checkpoint(path, masked())
    return path


def text_of(prompt, options):
    checkpoint = masked()
    tokenizer = Tokenizer(checkpoint.tokenizer)
    wanted, diffusion = GenerateOptions(max_tokens=12), DiffusionOptions(**options)
    ids = tokenizer.encode(prompt)
    steps = generate(load_model(checkpoint), ids, wanted, tokenizer=tokenizer, diffusion=diffusion)
    return "".join(step.text for step in steps)


def test_each_option_reaches_the_runtime(model, capsys):
    written = {"": text_of("It is", {})}
    for words, options in OPTIONS.items():
        found = call(capsys, "run", model, "-p", "It is", "-n", 12, "--json", *words.split())
        written[words] = json.loads(found.out)["text"]
        assert written[words] == text_of("It is", options), words
    assert len(set(written.values())) == len(written)


def test_prompts_and_conversations_have_them_too(model, capsys, tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("It is\n")
    words = ("-n", 12, "--block", 4, "--passes", 2)
    found = call(capsys, "run", model, "--prompts", tmp_path / "prompts.txt", *words)
    assert json.loads(found.out)["text"] == text_of("It is", {"block": 4, "passes": 2})
    give_stdin(monkeypatch, b"It is\n")
    found = call(capsys, "run", model, "--chat", *words)
    assert found.out == text_of("U:It is\nA:", {"block": 4, "passes": 2}) + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--threshold 0", "--threshold is for models that fill in masks; one of family llama"),
        ("--keep-blocks", "--keep-blocks is for models"),
        ("--block 0", "--block is for models"),
    ],
)
def test_other_models_refuse_them(words, message, capsys, tmp_path):
    path = small_model(tmp_path / "small.rq")
    found = call(capsys, "run", path, "-p", "It is", *words.split())
    assert (found.status, found.out) == (2, "")
    assert message in found.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--block 0", "block is 0, expected 1 or more"),
        ("--block 9999999999999999999", "and the model's context"),
        ("--block 4 --passes 5", "passes is 5, and a block has 4 tokens"),
    ],
)
def test_numbers_that_cannot_be_meant(words, message, model, capsys):
    found = call(capsys, "run", model, "-p", "It is", *words.split())
    assert (found.status, found.out) == (2, "")
    assert message in found.err


def test_the_time_of_a_block_belongs_to_its_tokens(model, capsys):
    found = call(capsys, "run", model, "-p", "It is", "-n", 12, "--json").json["stats"]
    assert found["prompt_tokens_per_second"] is None
    assert found["tokens_per_second"] <= found["tokens"] / found["first_token_seconds"]
    told = call(capsys, "run", model, "-p", "It is", "-n", 12, "--stats")
    assert told.status == 0
    (prompt,) = (line for line in told.err.splitlines() if line.startswith("prompt"))
    assert "tokens/s" not in prompt


def test_there_is_no_trace_of_passes(model, capsys, tmp_path):
    path = tmp_path / "states.npz"
    found = call(capsys, "run", model, "-p", "It is", "--trace", path)
    assert (found.status, found.out, path.exists()) == (2, "", False)
    assert "fills in masks has no states" in found.err
