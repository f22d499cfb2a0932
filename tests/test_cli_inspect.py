"""`refquant inspect`: files of every kind, also those that cannot run or are damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.formats.chat import ChatTurns
from refquant.formats.rq import tensors_digest, write_checkpoint
from refquant.tensor import quantize
from tests import gguf_bytes, safetensors_bytes
from tests.command_line import call, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq")


def q4_1(shape, seed=1):
    weights = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return quantize(weights, "q4_1").planes["blocks"].tobytes()


@pytest.fixture
def stranger(tmp_path):
    """A GGUF file of a family and a tensor type that nothing here can run."""
    strings = ["one", "two", "x" * 300, *(str(n) for n in range(2000))]
    content = gguf_bytes.build(
        [
            ("general.architecture", gguf_bytes.STRING, "gpt9"),
            ("gpt9.theta", gguf_bytes.F32, 0.1),
            ("tokens", gguf_bytes.ARRAY, (gguf_bytes.STRING, strings)),
        ],
        [("a\x1b[31m", (2, 64), 3, q4_1((2, 64))), ("b", (1, 256), 27, bytes(8 * 256))],
    )
    (tmp_path / "stranger.gguf").write_bytes(content)
    return tmp_path / "stranger.gguf"


def test_an_rq_file_in_json(capsys, model):
    found = call(capsys, "inspect", model, "--tensors", "--metadata", "--json").json
    assert found["schema"] == "refquant.inspect/1"
    assert found["kind"] == ".rq"
    assert found["bytes"] == model.stat().st_size
    assert found["architecture"]["family"] == "llama"
    assert found["architecture"]["fields"] == dict(open_checkpoint(model).architecture.fields)
    assert found["tokenizer"] == "bpe-bytelevel-1"
    assert found["root"] == model.read_bytes()[32:64].hex()
    assert found["obstacles"] == []
    assert [one["name"] for one in found["tensors"]] == list(open_checkpoint(model).tensors)
    (row,) = found["schemes"]
    assert row["weights"] == found["weights"] == sum(
        np.prod(one["shape"]) for one in found["tensors"]
    )  # fmt: skip
    assert row["bytes"] == 4 * row["weights"]
    assert found["metadata"]["labels"] == ["float/f32"]


def test_a_chat_is_shown(capsys, tmp_path, model):
    turns = {"user": ("U:", "\n"), "assistant": ("A:", "\n")}
    path = tmp_path / "chat.rq"
    write_checkpoint(path, replace(open_checkpoint(model), chat=ChatTurns(turns, "S", "A:")))
    assert call(capsys, "inspect", model, "--json").json["chat"] is None
    assert call(capsys, "inspect", path, "--json").json["chat"] == {
        "turns": {role: list(strings) for role, strings in turns.items()},
        "start": "S",
        "prompt": "A:",
    }
    shown = call(capsys, "inspect", path, "--metadata").out.splitlines()
    assert [line.split() for line in shown if line.startswith("chat ")] == [
        ["chat", "assistant,", "user"]
    ]


def test_the_page_of_an_rq_file(capsys, model):
    found = call(capsys, "inspect", model, "--tensors")
    assert "llama: context 64, feedforward_width 96" in found.out
    assert "norm_epsilon 1e-05, rope_style interleaved, rope_theta 10000.0" in found.out
    assert "document      tokenizer.json: application/json" in found.out
    assert "blk.0.attn_q.weight       float/f32  64 x 64" in found.out
    assert "cannot run" not in found.out


def test_the_digest_of_the_tensors_is_that_of_the_library(capsys, model):
    found = call(capsys, "inspect", model, "--digest", "--json").json
    assert found["tensors_digest"] == tensors_digest(open_checkpoint(model))


def test_the_digest_of_the_tensors_is_the_same_in_any_container(capsys, tmp_path):
    content = gguf_bytes.build([], [("w", (2, 64), 3, q4_1((2, 64)))])
    (tmp_path / "w.gguf").write_bytes(content)
    call(capsys, "quantize", tmp_path / "w.gguf", "-o", tmp_path / "w.rq", "--scheme", "keep")
    one, two = (
        call(capsys, "inspect", tmp_path / name, "--digest", "--json").json["tensors_digest"]
        for name in ("w.gguf", "w.rq")
    )
    assert one == two is not None


def test_compression_is_told(capsys, tmp_path, model):
    options = ["--scheme", "keep", "--compression", "zstd"]
    call(capsys, "quantize", model, "-o", tmp_path / "z.rq", *options)
    assert "compression   {codec: zstd" in call(capsys, "inspect", tmp_path / "z.rq").out


def test_what_cannot_run_is_shown_with_the_reasons(capsys, stranger):
    found = call(capsys, "inspect", stranger, "--tensors", "--json")
    assert found.status == 0
    assert [one["scheme"] for one in found.json["tensors"]] == ["ggml/q4_1", "I64"]
    assert [one["bytes"] for one in found.json["tensors"]] == [80, 2048]
    assert found.json["architecture"] is None
    family, tokenizer, types = found.json["obstacles"]
    assert "gpt9" in family
    assert "tokenizer" in tokenizer
    assert types == "tensor types without a scheme here: I64 (1)"


def test_names_from_a_file_cannot_command_the_terminal(capsys, stranger):
    found = call(capsys, "inspect", stranger, "--tensors")
    assert "a\\x1b[31m" in found.out
    assert "\x1b" not in found.out


def test_metadata_are_shortened(capsys, stranger):
    found = call(capsys, "inspect", stranger, "--metadata").out.splitlines()
    assert "gpt9.theta            0.1" in found
    (tokens,) = (line for line in found if line.startswith("tokens"))
    assert tokens.endswith("... (300 characters), 0, 1, 2, 3, 4, ...] (2003)")
    stored = call(capsys, "inspect", stranger, "--metadata", "--json").json["metadata"]
    assert stored["tokens"]["length"] == 2003
    assert stored["tokens"]["first"][:2] == ["one", "two"]


def test_safetensors_alone_or_in_a_folder_without_a_config(capsys, tmp_path):
    content = safetensors_bytes.build(
        {"a": ("BF16", (2, 3), bytes(12)), "b": ("I64", (2,), bytes(16))}, {"made": "by hand"}
    )
    (tmp_path / "x.safetensors").write_bytes(content)
    for place in (tmp_path / "x.safetensors", tmp_path):
        found = call(capsys, "inspect", place, "--tensors", "--metadata", "--json").json
        assert found["kind"] == "safetensors"
        assert [one["scheme"] for one in found["tensors"]] == ["float/bf16", "I64"]
        assert found["metadata"] == {"made": "by hand"}
        assert "no config.json" in found["obstacles"][0]


def test_a_hugging_face_folder_of_an_unknown_family(capsys, tmp_path):
    content = safetensors_bytes.build({"w": ("F8_E4M3", (2, 3), bytes(6))})
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt9"}))
    found = call(capsys, "inspect", tmp_path, "--tensors", "--json").json
    assert found["kind"] == "Hugging Face folder"
    assert found["tensors"] == [{"name": "w", "scheme": "F8_E4M3", "shape": [2, 3], "bytes": 6}]
    assert len(found["obstacles"]) == 3


def test_a_damaged_rq_file_is_shown_as_far_as_it_goes(capsys, tmp_path, model):
    (tmp_path / "short.rq").write_bytes(model.read_bytes()[:-1])
    found = call(capsys, "inspect", tmp_path / "short.rq")
    assert found.status == 3
    assert "short.rq: .rq" in found.out
    assert "[E_LENGTH]" in found.err
    facts = call(capsys, "inspect", tmp_path / "short.rq", "--json")
    assert (facts.status, facts.json["tensor_count"]) == (3, 0)
    assert "[E_LENGTH]" in facts.json["problem"]


def test_a_changed_weight_is_found_when_every_byte_is_read(capsys, tmp_path, model):
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.rq").write_bytes(content)
    assert call(capsys, "inspect", tmp_path / "changed.rq").status == 0
    found = call(capsys, "inspect", tmp_path / "changed.rq", "--digest")
    assert found.status == 3
    assert "[E_SEG_CRC]" in found.err


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 3, "[E_EMPTY]"),
        (b"hello\n", 4, "a text file"),
        (b"PK\x03\x04" + bytes(20), 4, "zip archive"),
        (b"GGUF\x03\x00", 3, "[E_GGUF"),
    ],
)
def test_files_of_other_kinds(capsys, tmp_path, content, status, message):
    (tmp_path / "x").write_bytes(content)
    found = call(capsys, "inspect", tmp_path / "x")
    assert (found.status, found.out) == (status, "")
    assert message in found.err


def test_rules_of_a_recipe_are_counted(capsys, tmp_path, model):
    options = ["-o", tmp_path / "made.rq", "--scheme", "q4_0", "--quiet"]
    assert call(capsys, "quantize", model, *options).status == 0
    lines = call(capsys, "inspect", tmp_path / "made.rq").out.splitlines()
    assert "recipe        name ggml/q4_0, recipe 1, 3 rules" in lines
    stored = call(capsys, "inspect", tmp_path / "made.rq", "--json").json
    assert len(stored["provenance"]["recipe"]["rules"]) == 3
