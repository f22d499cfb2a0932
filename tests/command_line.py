"""Calling the command line from tests: in this process, or as a process of its own."""

import json
import subprocess
import sys
from typing import NamedTuple

from refquant.cli import main
from refquant.formats.rq import write_checkpoint
from tests.runtime_models import random_checkpoint
from tests.runtime_tokenizers import byte_level

WIDTH = 64


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def call(capsys, *tokens):
    """Run a command line in this process."""
    capsys.readouterr()
    status = main([str(token) for token in tokens])
    captured = capsys.readouterr()
    return Outcome(status, captured.out, captured.err)


def spawn(*tokens, **options):
    """Run a command line as a process; output as bytes."""
    command = [sys.executable, "-m", "refquant", *map(str, tokens)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **options)


def small_model(path, **changes):
    """A random llama model that can speak bytes, written to `path`."""
    fields = {"vocabulary": 258, "width": WIDTH, "head_width": 16, "feedforward_width": 96}
    checkpoint = random_checkpoint(tokenizer=byte_level(), **(fields | changes))
    write_checkpoint(path, checkpoint)
    return path
