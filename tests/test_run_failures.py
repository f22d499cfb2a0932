"""What `run` says, and its status, when the model, the reader or the person stops it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from refquant import quantize
from refquant.architectures import Architecture
from refquant.formats.rq import write_checkpoint
from refquant.tensor import QuantizedTensor
from tests.architecture_models import GOLDEN
from tests.command_line import call, small_model
from tests.runtime_models import random_checkpoint
from tests.runtime_tokenizers import byte_level

FIELDS = {"vocabulary": 258, "width": 64, "head_width": 16, "feedforward_width": 96}


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("long") / "long.rq", context=4000)


def started(model):
    command = [sys.executable, "-m", "refquant", "run", model, "-p", "It", "--ignore-eos"]
    return subprocess.Popen(
        [*map(str, command), "-n", "3990"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's here")
def test_ctrl_c_ends_the_line_and_the_run(long):
    with started(long) as process:
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"refquant: interrupted\n")
    assert out.endswith(b"\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX's here")
def test_a_closed_pipe_ends_the_run_quietly(long):
    with started(long) as process:
        process.stdout.read(1)
        process.stdout.close()
        began = time.monotonic()
        err = process.stderr.read()
    assert err == b""
    assert process.returncode in (0, 141)
    assert time.monotonic() - began < 60


def broken(name):
    checkpoint = random_checkpoint(tokenizer=byte_level(), context=32, **FIELDS)
    if name == "architecture":
        return replace(checkpoint, architecture=None)
    if name == "tokenizer":
        return replace(checkpoint, tokenizer=None)
    tensors = dict(checkpoint.tensors)
    spoiled = tensors["output_norm.weight"].dequantize().copy()
    spoiled[3] = np.nan
    tensors["output_norm.weight"] = quantize(spoiled, "float/f32")
    return replace(checkpoint, tensors=tensors)


@pytest.mark.parametrize(
    ("name", "prompt", "status", "message"),
    [
        ("architecture", "It", 4, "the file names no architecture"),
        ("tokenizer", "It", 4, "holds no tokenizer"),
        ("weights", "It", 3, "output_norm.weight"),
        ("weights", "x" * 33, 6, "shorten the prompt"),
    ],
)
def test_what_cannot_run_says_why(capsys, tmp_path, name, prompt, status, message):
    if name == "weights" and status == 6:
        small_model(tmp_path / "a.rq", context=32)
    else:
        write_checkpoint(tmp_path / "a.rq", broken(name))
    found = call(capsys, "run", tmp_path / "a.rq", "-p", prompt)
    assert (found.status, found.out) == (status, "")
    assert message in found.err


KNOWN = ("llama", "qwen3", "gemma3", "gpt2", "bert")


def unknown(capsys, tmp_path, form):
    """A model of an architecture that nobody here knows, in one of the formats."""
    checkpoint = random_checkpoint(tokenizer=byte_level(), context=32, **FIELDS)
    if form == ".rq":
        path = tmp_path / "unknown.rq"
        write_checkpoint(
            path, replace(checkpoint, architecture=Architecture("rwkv", {"layers": 2}))
        )
        return path
    if form == "GGUF":
        path, made = tmp_path / "known.gguf", tmp_path / "unknown.gguf"
        write_checkpoint(tmp_path / "known.rq", checkpoint)
        assert call(capsys, "convert", tmp_path / "known.rq", path).status == 0
        # Names of one length: nothing else moves.
        made.write_bytes(path.read_bytes().replace(b"llama", b"rwkv7"))
        return made
    folder = tmp_path / "folder"
    shutil.copytree(GOLDEN / "llama", folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "rwkv"}), "utf-8")
    return folder


@pytest.mark.parametrize("form", [".rq", "GGUF", "Hugging Face folder"])
@pytest.mark.parametrize(
    "command",
    [("run", "-p", "It"), ("run", "--chat"), ("eval",), ("bench",), ("embed", "It")],
    ids=" ".join,
)
def test_an_unknown_architecture_is_named_with_those_that_are_known(
    capsys, tmp_path, form, command
):
    found = call(capsys, command[0], unknown(capsys, tmp_path, form), *command[1:])
    assert (found.status, found.out) == (4, "")
    assert "rwkv" in found.err
    for known in KNOWN:
        assert known in found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize("weights", ["auto", "float32", "u8", "packed"])
@pytest.mark.parametrize(
    ("scheme", "compute"),
    [("float/f16", None), ("ggml/q4_0", None), ("ggml/q4_0", "ggml_block"),
     ("aeq/int8", "litert_symmetric"), ("aeq/int8", None)],
)  # fmt: skip
def test_a_scale_or_weight_that_is_no_number_is_found_however_weights_are_held(
    capsys, tmp_path, weights, scheme, compute
):
    checkpoint = random_checkpoint(scheme, tokenizer=byte_level(), context=32, **FIELDS)
    name = "blk.1.ffn_up.weight"
    stored = checkpoint.tensors[name]
    planes = {plane: values.copy() for plane, values in stored.planes.items()}
    place = {"float/f16": "values", "ggml/q4_0": "blocks", "aeq/int8": "scales"}[scheme]
    # All bits set are a NaN in binary16 and binary32, and where scales stand in both blocks.
    planes[place].reshape(-1)[:4] = 0xFF
    tensors = {**checkpoint.tensors, name: replaced(stored, planes)}
    write_checkpoint(tmp_path / "nan.rq", replace(checkpoint, tensors=tensors))
    asked = () if compute is None else ("--compute", compute)
    found = call(
        capsys, "run", tmp_path / "nan.rq", "-p", "It is", "--weights", weights, *asked, "-n", 2
    )
    assert found.status == 3, found.err
    assert name in found.err
    assert "E_NOT_FINITE" in found.err
    assert found.out.strip() == ""


def replaced(tensor, planes):
    return QuantizedTensor(tensor.scheme, tensor.shape, planes, tensor.axis)
