"""ggml's activation quantizers behind files: `ggml_rows_worker.py REQUEST.npz ANSWER.npz`.

The request holds `x` f32[rows, n]. The answer holds the bytes u8[rows, bytes] that the library
makes of it on this machine, as `q8_0` and `q8_1`.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[3] / "conformance" / "engines"))

from ggml_library import processor_library

library = processor_library()
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
