"""The readers in other languages as processes that take files on their standard input."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

READERS = Path(__file__).resolve().parent.parent / "conformance" / "readers"
C_FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-pedantic"]


def javascript():
    """The command of the JavaScript reader; the test is skipped where there is no Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    return [node, str(READERS / "javascript" / "rq.mjs"), "--stdin"]


def compiled_c(folder, *flags):
    """The C reader, compiled into `folder`; the test is skipped where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    program = folder / "rq"
    source = READERS / "c"
    files = [str(source / "rq.c"), str(source / "main.c"), "-lm"]
    subprocess.run([compiler, *C_FLAGS, *flags, "-o", str(program), *files], check=True)
    return [str(program), "--stdin"]


def answers(command, files):
    """What a reader says about each file, from one process."""
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
    lines = done.stdout.decode("utf-8").splitlines()
    assert len(lines) == len(files)
    return [normalized(json.loads(line)) for line in lines]


def normalized(answer):
    """A code, or the digests by name."""
    if "code" in answer:
        return answer["code"]
    return {key: dict(answer[key]) for key in ("tensors", "documents")}
