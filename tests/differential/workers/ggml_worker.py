"""ggml's C functions behind files: reads an .npz of requests, writes an .npz of answers.

Runs in an environment that has ggml-python or llama-cpp-python and NumPy, never in ours, because
two builds of ggml in one process mix up their symbols. Only ctypes touches the library.

    python ggml_worker.py REQUEST.npz ANSWER.npz

The request holds `type` (id of the tensor type), `row` (weights in a row) and any of
`x` (f32[...]: encode), `importance` (f32[row], with `x`), `bytes` (u8[...]: decode) and `symbol`
(name after `quantize_row_` and `dequantize_row_`). The answer holds `from_float` (the type's
`from_float_ref`), `reference` (`quantize_row_SYMBOL_ref`), `chunk` (`ggml_quantize_chunk`, with
the importance) and `values` (`to_float`), as far as they were asked for and exist.
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

WITHOUT_CHUNK = {9, 15}  # Q8_1 and Q8_K hold activations; ggml_quantize_chunk refuses them.
RowFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class Traits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml 0.15 to 0.25."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


def library():
    """The library of whichever package this environment has."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    for package in ("ggml", "llama_cpp"):
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            folder = Path(found.origin).parent / "lib"
            base = ctypes.CDLL(str(folder / "libggml-base.so"))
            base.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
            base.ggml_quantize_chunk.restype = ctypes.c_size_t
            base.ggml_quantize_chunk.argtypes = (
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_int64,
                ctypes.c_int64,
                ctypes.c_int64,
                ctypes.c_void_p,
            )
            return base
    raise SystemExit("neither ggml-python nor llama-cpp-python is installed here")


def answer(request):
    """All that was asked for, by name."""
    base = library()
    kind, row = int(request["type"]), int(request["row"])
    traits = base.ggml_get_type_traits(kind).contents
    result = {}
    if "x" in request:
        x = np.ascontiguousarray(request["x"], np.float32)
        size = x.size // traits.blck_size * traits.type_size
        if traits.from_float_ref:
            result["from_float"] = out = np.zeros(size, np.uint8)
            RowFunction(traits.from_float_ref)(x.ctypes.data, out.ctypes.data, x.size)
        if "symbol" in request:
            result["reference"] = out = np.zeros(size, np.uint8)
            function = RowFunction((f"quantize_row_{request['symbol']}_ref", base))
            function(x.ctypes.data, out.ctypes.data, x.size)
        if kind not in WITHOUT_CHUNK:
            result["chunk"] = out = np.zeros(size, np.uint8)
            importance = None
            if "importance" in request:
                weights = np.ascontiguousarray(request["importance"], np.float32)
                importance = weights.ctypes.data
            base.ggml_quantize_chunk(
                kind, x.ctypes.data, out.ctypes.data, 0, x.size // row, row, importance
            )
    if "bytes" in request:
        data = np.ascontiguousarray(request["bytes"], np.uint8)
        count = data.size // traits.type_size * traits.blck_size
        result["values"] = values = np.zeros(count, np.float32)
        function = RowFunction(traits.to_float or (f"dequantize_row_{request['symbol']}", base))
        function(data.ctypes.data, values.ctypes.data, count)
    return result


if __name__ == "__main__":
    with np.load(sys.argv[1]) as asked:
        np.savez(sys.argv[2], **answer(dict(asked)))
