"""What `run` says, and its status, when the model, the reader or the person stops it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from refquant import quantize
from refquant.formats.rq import write_checkpoint
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
        ("architecture", "It", 4, "names no model architecture"),
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
