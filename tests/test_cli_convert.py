"""`refquant convert` into the formats of others: what is written, what is said, what is refused."""

import shutil
import struct

import numpy as np
import pytest

from refquant import quantize
from refquant.formats import open_checkpoint
from refquant.formats.gguf_file import read_gguf
from refquant.formats.nnef_export import plan_nnef
from refquant.formats.safetensors import read_safetensors
from tests.architecture_models import GOLDEN, run, states_in
from tests.command_line import call, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("convert") / "model.rq")


@pytest.fixture
def q40(capsys, model, tmp_path):
    path = tmp_path / "q40.rq"
    command = ("quantize", model, "-o", path, "-c", "min_max_q4_0_all", "--quiet")
    assert call(capsys, *command).status == 0
    return path


def test_there_and_back_again(capsys, model, tmp_path):
    one, two, again = (tmp_path / name for name in ("one.gguf", "middle.rq", "two.gguf"))
    done = call(capsys, "convert", model, one, "--json")
    assert done.status == 0
    assert done.json["verdicts"]["requantized"] == 0
    assert done.json["bytes"] == one.stat().st_size
    assert call(capsys, "convert", one, two).status == 0
    assert call(capsys, "convert", two, again).status == 0
    assert again.read_bytes() == one.read_bytes()
    text = [call(capsys, "run", path, "-p", "abc", "-n", 5, "--temperature", 0).out
            for path in (model, one, two)]  # fmt: skip
    assert text[0] == text[1] == text[2]


def test_loss_is_stated_and_can_be_refused(capsys, model, tmp_path):
    eight, output = tmp_path / "eight.rq", tmp_path / "out.gguf"
    scheme = ("--scheme", "int/affine[bits=8,channel]", "--quiet")
    assert call(capsys, "quantize", model, "-o", eight, *scheme).status == 0
    refused = call(capsys, "convert", eight, output, "--lossless-only")
    assert refused.status == 5
    assert "token_embd.weight: ggml/q8_0, relative error 0.0" in refused.err
    assert "--scheme float/f32 keeps every value" in refused.err
    assert not output.exists()
    kept = ("convert", eight, output, "--lossless-only", "--scheme", "float/f32")
    assert call(capsys, *kept).status == 0
    done = call(capsys, "convert", eight, output, "--json").json
    lost = {one["name"]: one for one in done["tensors"] if one["verdict"] == "requantized"}
    before, after = open_checkpoint(eight).tensors, open_checkpoint(output).tensors
    assert "token_embd.weight" in lost
    exact = before["token_embd.weight"].dequantize().astype(np.float64)
    error = after["token_embd.weight"].dequantize() - exact
    expected = np.sqrt(np.sum(error**2) / np.sum(exact**2))
    assert lost["token_embd.weight"]["relative_rmse"] == expected
    assert "requantized  int/affine[bits=8,sym,channel]" in call(
        capsys, "convert", eight, output
    ).out  # fmt: skip
    assert call(capsys, "convert", model, output, "--lossless-only", "--quiet").status == 0


@pytest.mark.parametrize("legacy", [False, True])
def test_nnef_headers_blocks_and_graph(capsys, q40, tmp_path, legacy):
    folder = tmp_path / "linears.nnef"
    done = call(capsys, "convert", q40, folder, "--json", *(["--legacy"] if legacy else []))
    assert done.json["verdicts"] == (
        {"exact": 0, "repacked": 15, "requantized": 0}
        if legacy
        else {"exact": 15, "repacked": 0, "requantized": 0}
    )
    tensor = open_checkpoint(q40).tensors["blk.0.ffn_down.weight"]
    raw = (folder / "blk.0.ffn_down.weight.dat").read_bytes()
    header = struct.pack("<4sIIII", b"\x4e\xef\x01\x00", tensor.nbytes, 2, *tensor.shape)
    header = header.ljust(44, b"\0") + struct.pack(
        "<IHH", 0xFFFFFFFF, 0x2040 if legacy else 0x3040, 0x5452
    )
    assert raw[:128] == header.ljust(128, b"\0")
    codes = np.frombuffer(tensor.planes["blocks"], np.uint8).reshape(-1, 18)
    blocks = np.frombuffer(raw[128:], np.uint8).reshape(-1, 18)
    if legacy:
        nibbles = np.concatenate([codes[:, 2:] & 15, codes[:, 2:] >> 4], axis=1)
        codes = np.concatenate([codes[:, :2], nibbles[:, ::2] | nibbles[:, 1::2] << 4], axis=1)
    assert np.array_equal(blocks, codes)
    graph = (folder / "graph.nnef").read_text()
    assert graph.count("matmul(") == 15
    assert 'label="blk.0.ffn_down.weight", shape=[64,96]' in graph
    assert (folder / "graph.quant").read_text() == ""
    assert call(capsys, "convert", q40, folder).status == 2


def test_integers_of_one_scale_are_stated_in_graph_quant(model, tmp_path):
    checkpoint = open_checkpoint(model)
    weights = checkpoint.tensors["blk.0.ffn_up.weight"].dequantize()
    for scheme, signed in (("t2n/qint8", "true"), ("t2n/quint8", "false")):
        tensor = quantize(weights, scheme)
        named = type(checkpoint)(None, {"a b": tensor}, {}, None, {}, {})
        plan_nnef(named).write(tmp_path / signed, lambda _name, _found: None)
        line = (tmp_path / signed / "graph.quant").read_text()
        scale = float(tensor.planes["scales"].reshape(-1).view("<f4")[0])
        assert line.startswith('"w_a_b": zero_point_linear_quantize(scale = ')
        assert np.float32(line.partition("= ")[2].partition(",")[0]) == np.float32(scale)
        assert f"signed = {signed}, symmetric = false);" in line
        raw = (tmp_path / signed / "a_b.dat").read_bytes()
        assert raw[128:] == tensor.planes["codes"].tobytes()
        assert struct.unpack_from("<IHH", raw, 44) == (8, 3 if signed == "true" else 2, 0)


@pytest.mark.parametrize(
    "name", ["llama", "gemma2", "gemma3", "qwen3_moe", "gpt2", "gpt_oss", "phi3", "bert", "llama3"]
)
def test_a_folder_of_every_form_computes_the_same(capsys, tmp_path, name):
    rq, folder = tmp_path / "model.rq", tmp_path / "folder"
    assert call(capsys, "convert", GOLDEN / name, rq, "--quiet").status == 0
    done = call(capsys, "convert", rq, folder, "--to", "safetensors", "--json")
    assert done.json["verdicts"]["requantized"] == 0
    theirs = read_safetensors(GOLDEN / name / "model.safetensors").tensors
    found = read_safetensors(folder / "model.safetensors").tensors
    assert {found[known].shape == theirs[known].shape for known in found if known in theirs} <= {
        True
    }
    states = states_in(GOLDEN / name)
    assert max(states.strays(run(open_checkpoint(folder), states.tokens)).values()) <= 1


def test_a_gguf_file_becomes_a_folder_with_a_configuration_of_its_own(capsys, tmp_path):
    gguf, folder = tmp_path / "model.gguf", tmp_path / "folder"
    assert call(capsys, "convert", GOLDEN / "llama", gguf, "--quiet").status == 0
    assert call(capsys, "convert", gguf, folder, "--to", "safetensors", "--quiet").status == 0
    before, after = (open_checkpoint(place) for place in (GOLDEN / "llama", folder))
    assert after.architecture.fields["rope_style"] == "halves"
    assert before.tensors.keys() == after.tensors.keys()
    for name, tensor in before.tensors.items():
        assert after.tensors[name].dequantize().tobytes() == tensor.dequantize().tobytes()


def test_plain_safetensors_hold_the_values(capsys, q40, tmp_path):
    path = tmp_path / "plain.safetensors"
    done = call(capsys, "convert", q40, path, "--scheme", "float/f16", "--json")
    assert done.json["verdicts"]["requantized"] > 0
    assert call(capsys, "convert", q40, path, "--json").json["verdicts"]["requantized"] == 0
    found = read_safetensors(path).tensors["model.layers.0.mlp.down_proj.weight"]
    tensor = open_checkpoint(q40).tensors["blk.0.ffn_down.weight"]
    assert found.data.tobytes() == tensor.dequantize().tobytes()


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["out.onnx"], 2, "expected .rq, .gguf, .safetensors, .nnef"),
        (["out"], 2, "--to nnef"),
        (["out.gguf", "--compression", "zstd"], 2, "--compression is for rq, not for gguf"),
        (["out.gguf", "--legacy"], 2, "--legacy is for nnef"),
        (["out.rq", "--scheme", "ggml/q8_0"], 2, "--scheme is for gguf"),
        (["out.gguf", "--scheme", "nf4"], 2, "unknown scheme"),
        (["out.gguf", "--scheme", "int/affine[bits=8,channel]"], 2, "expected one of ggml"),
        (["out.safetensors", "--scheme", "ggml/q8_0"], 4, "plain safetensors hold"),
        (["out.nnef", "--scheme", "ggml/q8_0"], 4, "NNEF has no item for ggml/q8_0"),
        (["nowhere/out.gguf"], 2, "no folder"),
    ],
)
def test_mistakes_are_refused_before_any_work(capsys, model, tmp_path, options, status, text):
    done = call(capsys, "convert", model, tmp_path / options[0], *options[1:])
    assert (done.status, text in done.err) == (status, True), done.err
    assert list(tmp_path.iterdir()) == []


def test_a_written_gguf_file_reads_as_one(capsys, model, tmp_path):
    path = tmp_path / "model.gguf"
    assert call(capsys, "convert", model, path, "--quiet").status == 0
    metadata = read_gguf(path).metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.block_count"] == 2
    assert len(metadata["tokenizer.ggml.tokens"]) == 258


def test_weights_alone_are_a_source_of_quantize(capsys, tmp_path):
    """A safetensors file is read with the texts beside it, or as tensors without a family."""
    shutil.copy(GOLDEN / "llama" / "model.safetensors", tmp_path / "other-name.safetensors")
    command = ("quantize", tmp_path / "other-name.safetensors", "-o", tmp_path / "out.rq")
    options = ("--scheme", "keep", "--quiet")
    assert call(capsys, *command, *options).status == 0
    found = open_checkpoint(tmp_path / "out.rq")
    assert found.architecture is None
    assert "model.norm.weight" in found.tensors
    shutil.copy(GOLDEN / "llama" / "config.json", tmp_path)
    assert call(capsys, *command, *options).status == 0
    assert open_checkpoint(tmp_path / "out.rq").architecture.family == "llama"
