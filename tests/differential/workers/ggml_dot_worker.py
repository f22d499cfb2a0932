"""ggml's dot products behind files: `ggml_dot_worker.py REQUEST.npz ANSWER.npz`.

The request holds `kind` (such as q4_0), `other` (q8_0, q8_1 or q8_K), `n`, and the bytes of rows,
`x` and `y` (u8[rows, bytes]). The answer holds `scalar` (the C without vector instructions) and
`processor` (what the library uses on this machine), f32[rows] each.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[3] / "conformance" / "engines"))

from ggml_library import processor_library

library = processor_library()
asked = dict(np.load(sys.argv[1]))
name = f"ggml_vec_dot_{asked['kind']}_{asked['other']}"
answer = {}
for label, symbol in (("scalar", f"{name}_generic"), ("processor", name)):
    function = getattr(library, symbol)
    function.restype = None
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
    )
    out = np.zeros(len(asked["x"]), np.float32)
    for row in range(len(out)):
        x, y = (np.ascontiguousarray(asked[side][row]) for side in "xy")
        one = out[row:]
        function(int(asked["n"]), one.ctypes.data, 0, x.ctypes.data, 0, y.ctypes.data, 0, 1)
    answer[label] = out
np.savez(sys.argv[2], **answer)
