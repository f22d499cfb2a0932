"""A library in a process of its own, as its users have it, which measures one call when asked.

Two libraries in one process share its allocator. refquant asks glibc to keep more memory than it
does by itself, gguf leaves a heap with room in it, and each would measure the other's habits.

    python -m bench.alone TASK FILE ARGUMENT...

prints the SHA-256 of a first result, and after each line of input the seconds of processor time and
of wall time that a call took. TASK is one of `TASKS`. Runs also in environments that lack refquant.
"""

import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Self

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from bench.timing import Taken, taken

__all__ = ["Alone"]

ROOT = Path(__file__).resolve().parent.parent
Call = Callable[[], np.ndarray]


class Alone:
    """`with Alone("gguf dequantize", FILE, ...) as call`: `call()` is what one call took."""

    def __init__(self, task: str, *arguments: object, python: str | Path = sys.executable) -> None:
        command = [str(python), "-m", "bench.alone", task, *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.digest = self._answer()

    def _answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{self.process.args} ended; see its messages")
        return line

    def __call__(self) -> Taken:
        """One call over there."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Taken(*map(float, self._answer().split()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _gguf_dequantize(path: str, kind: str, rows: str) -> Call:
    import gguf

    raw = np.memmap(path, np.uint8, mode="r").reshape(int(rows), -1)
    quant = gguf.GGMLQuantizationType[kind]
    return lambda: gguf.quants.dequantize(raw, quant)


def _gguf_quantize(path: str, kind: str, rows: str) -> Call:
    import gguf

    x = np.memmap(path, np.float32, mode="r").reshape(int(rows), -1)
    quant = gguf.GGMLQuantizationType[kind]
    return lambda: gguf.quants.quantize(x, quant)


def _float8_astype(path: str, kind: str, rows: str) -> Call:
    import ml_dtypes

    codes = np.memmap(path, np.uint8, mode="r").reshape(int(rows), -1)
    return lambda: codes.view(getattr(ml_dtypes, kind)).astype(np.float32)


def _refquant_dequantize(path: str, name: str, rows: str, columns: str) -> Call:
    import refquant

    shape = int(rows), int(columns)
    planes = {next(iter(refquant.scheme(name).planes)): np.memmap(path, np.uint8, mode="r")}
    tensor = refquant.QuantizedTensor.from_planes(name, shape, planes)
    return lambda: tensor.dequantize(threads=1)


def _refquant_dequantize_out(path: str, name: str, rows: str, columns: str) -> Call:
    import refquant

    shape = int(rows), int(columns)
    planes = {next(iter(refquant.scheme(name).planes)): np.memmap(path, np.uint8, mode="r")}
    tensor = refquant.QuantizedTensor.from_planes(name, shape, planes)
    out = np.zeros(shape, np.float32)
    return lambda: tensor.dequantize(out, threads=1)


def _refquant_quantize(path: str, name: str, rows: str) -> Call:
    import refquant

    x = np.memmap(path, np.float32, mode="r").reshape(int(rows), -1)
    return lambda: refquant.quantize(x, name, threads=1).planes["blocks"]


def _ggml_quantize(path: str, symbol: str, rows: str) -> Call:
    import ctypes

    sys.path.insert(0, str(ROOT / "tests" / "differential" / "workers"))
    import ggml_worker

    x = np.fromfile(path, np.float32).reshape(int(rows), -1)
    function = getattr(ggml_worker.library(), f"quantize_row_{symbol}_ref")
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    size = {"q2_K": 84, "q3_K": 110, "q4_K": 144, "q5_K": 176, "q6_K": 210}[symbol]
    out = np.zeros((x.size // 256, size), np.uint8)

    def call() -> np.ndarray:
        function(x.ctypes.data, out.ctypes.data, x.size)
        return out

    return call


TASKS: dict[str, Callable[..., Call]] = {
    "gguf dequantize": _gguf_dequantize,
    "gguf quantize": _gguf_quantize,
    "ml_dtypes astype": _float8_astype,
    "refquant dequantize": _refquant_dequantize,
    "refquant dequantize out": _refquant_dequantize_out,
    "refquant quantize": _refquant_quantize,
    "ggml quantize": _ggml_quantize,
}


def main(task: str, *arguments: str) -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    call = TASKS[task](*arguments)
    print(hashlib.sha256(np.ascontiguousarray(call()).data).hexdigest(), flush=True)
    for _ in sys.stdin:
        found = taken(call)
        print(found.cpu, found.wall, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
