"""The readers in other languages, as processes that take files on their standard input."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["WITHOUT_ZSTD", "answers", "c_command", "javascript_command", "lacks_zstd"]

WITHOUT_ZSTD = {"rq"}
"""Names of the programs that answer E_FEATURE where a file is compressed."""

READERS = Path(__file__).resolve().parents[1] / "readers"
C_FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off"]


def javascript_command():
    """The command of the JavaScript reader; None where there is no Node."""
    node = shutil.which("node")
    return None if node is None else [node, str(READERS / "javascript" / "rq.mjs"), "--stdin"]


def c_command(folder, *flags):
    """The command of the C reader, compiled into `folder`; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "rq"
    files = [str(READERS / "c" / "rq.c"), str(READERS / "c" / "main.c"), "-lm"]
    subprocess.run([compiler, *C_FLAGS, *flags, "-o", str(program), *files], check=True)
    return [str(program), "--stdin"]


def lacks_zstd(command):
    """Whether a command's reader has no zstd."""
    return Path(command[0]).name in WITHOUT_ZSTD


def answers(command, files):
    """What a reader says about each file, from one process: a code, or digests by name."""
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    lines = done.stdout.decode("utf-8").splitlines()
    if done.returncode or len(lines) != len(files):
        said = done.stderr.decode("utf-8", "replace")[-2000:]
        raise RuntimeError(f"status {done.returncode}, {len(lines)} of {len(files)} files: {said}")
    return [normalized(json.loads(line)) for line in lines]


def normalized(answer):
    """A code, or the digests by name."""
    if "code" in answer:
        return answer["code"]
    return {key: dict(answer[key]) for key in ("tensors", "documents")}
