"""Quantizing whole models: the call beside llama.cpp's on SmolLM2, and how much memory it takes.

Each call is made in a process of its own and measured there, without the interpreter's start:
processor time of all threads. Memory is a process's peak over that of an interpreter that has
imported the package, on SmolLM2 and on a checkpoint of 4 GB (REFQUANT_BENCH_GB: another size)
of equal layers, which takes no room on the disk: its weights are a hole in the file.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.timing import Comparison, Taken, compare_taken

__all__ = ["quantizing_facts", "quantizing_rows"]

REPOSITORY = Path(__file__).resolve().parent.parent
LLAMA = Path(os.environ.get("REFQUANT_ORACLES", REPOSITORY / ".oracles")) / "llama/bin/python"
SMOLLM2 = os.environ.get("REFQUANT_SMOLLM2", "")
WIDTH = 8192

OURS = """
import json, resource, sys, time
from refquant.quantization import quantize_checkpoint
from refquant.recipe import uniform_recipe
usage, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
quantize_checkpoint(sys.argv[1], sys.argv[2], uniform_recipe(sys.argv[3]))
"""
THEIRS = """
import json, resource, sys, time
import llama_cpp
options = llama_cpp.llama_model_quantize_default_params()
options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{sys.argv[3].upper()}")
options.allow_requantize = True
usage, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
status = llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), options)
assert status == 0
"""
TOLD = """
wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
print(json.dumps({"cpu": cpu, "wall": wall}), file=sys.stdout)
"""
PEAK = """
import sys
if len(sys.argv) > 1:
    from refquant.cli import main
    status = main(sys.argv[1:])
    assert status == 0
else:
    import refquant.quantization, refquant.cli.quantize
text = open("/proc/self/status").read()
print("peak", next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")))
"""


def quantizing_rows() -> Iterator[Comparison]:
    """Q4_0 and Q8_0 of SmolLM2; nothing where the file or llama.cpp is missing."""
    if not (SMOLLM2 and LLAMA.exists()):
        return
    with tempfile.TemporaryDirectory() as folder:
        for scheme in ("q4_0", "q8_0"):
            ours = (sys.executable, OURS, SMOLLM2, f"{folder}/o.rq", scheme)
            theirs = (str(LLAMA), THEIRS, SMOLLM2, f"{folder}/t.gguf", scheme)
            yield compare_taken(
                f"SmolLM2 to {scheme}",
                lambda command=ours: _told(*command),
                "llama.cpp 0.3.36",
                lambda command=theirs: _told(*command),
                per=1_000_000,
                rounds=5,
            )


def _told(python: str, program: str, *arguments: str) -> Taken:
    """What the program says that its call took."""
    answer = _answer(python, program + TOLD, *arguments)
    return Taken(**json.loads(answer[answer.rindex("{") :]))


def _answer(python: str, program: str, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-c", program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    return done.stdout


def quantizing_facts() -> Iterator[tuple[str, str]]:
    """The peaks above the interpreter's, in units of the largest tensor in float32."""
    if not Path("/proc/self/status").exists():
        return
    base = _peak()
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/o.rq"
        if SMOLLM2:
            peak = _peak("quantize", SMOLLM2, "-o", out, "--scheme", "q4_0", "--quiet") - base
            yield "peak on SmolLM2", _shown(peak, 4 * 49152 * 576)
        gigabytes = int(os.environ.get("REFQUANT_BENCH_GB", "4"))
        source = Path(folder) / "large.safetensors"
        write_hole(source, layers=gigabytes * 10**9 // (2 * WIDTH**2) + 1)
        peak = _peak("quantize", str(source), "-o", out, "--scheme", "q4_0", "--quiet") - base
        yield f"peak on {source.stat().st_size / 1e9:.1f} GB", _shown(peak, 4 * WIDTH**2)


def write_hole(path: Path, layers: int) -> None:
    """A safetensors file of square float16 matrices whose bytes are not there, and read as zero."""
    size = 2 * WIDTH**2
    table = {
        f"model.layers.{layer}.mlp.down_proj.weight": {
            "dtype": "F16",
            "shape": [WIDTH, WIDTH],
            "data_offsets": [layer * size, (layer + 1) * size],
        }
        for layer in range(layers)
    }
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + layers * size)


def _peak(*command: str) -> int:
    """The largest resident size of a process, in bytes, what it maps included."""
    return 1024 * int(_answer(sys.executable, PEAK, *command).split()[-1])


def _shown(peak: int, largest: int) -> str:
    return (
        f"{peak / 1e6:.0f} MB above the interpreter, {peak / largest:.2f} times the largest tensor "
        "in float32"
    )
