"""ggml's activation quantizers behind files: `ggml_rows_worker.py REQUEST.npz ANSWER.npz`.

The request holds `x` f32[rows, n]. The answer holds the bytes u8[rows, bytes] that the library
makes of it on this machine, as `q8_0` and `q8_1`.
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

os.environ["GGML_NO_BACKTRACE"] = "1"
folder = Path(importlib.util.find_spec("ggml").origin).parent / "lib"
ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
library = ctypes.CDLL(str(folder / "libggml-cpu.so"))
library.ggml_cpu_init()

x = np.ascontiguousarray(np.load(sys.argv[1])["x"], np.float32)
answer = {}
for name, size in (("q8_0", 34), ("q8_1", 36)):
    function = getattr(library, f"quantize_row_{name}")
    function.restype = None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    answer[name] = np.zeros((len(x), x.shape[1] // 32 * size), np.uint8)
    for row, out in zip(x, answer[name], strict=True):
        function(row.ctypes.data, out.ctypes.data, len(row))
np.savez(sys.argv[2], **answer)
