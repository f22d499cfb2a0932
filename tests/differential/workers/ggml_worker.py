"""ggml's C functions behind files: reads an .npz of requests, writes an .npz of answers.

Runs in an environment that has a package with ggml, never in ours; see
`conformance/engines/ggml_library.py`.

    python ggml_worker.py REQUEST.npz ANSWER.npz

The request holds `type` (id of the tensor type), `row` (weights in a row) and any of
`x` (f32[...]: encode), `importance` (f32[row], with `x`), `bytes` (u8[...]: decode) and `symbol`
(name after `quantize_row_` and `dequantize_row_`). The answer holds `from_float` (the type's
`from_float_ref`), `reference` (`quantize_row_SYMBOL_ref`), `chunk` (`ggml_quantize_chunk`, with
the importance) and `values` (`to_float`), as far as they were asked for and exist.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[3] / "conformance" / "engines"))

from ggml_library import Rows, base_library

WITHOUT_CHUNK = {9, 15}  # Q8_1 and Q8_K hold activations; ggml_quantize_chunk refuses them.


def answer(request):
    """All that was asked for, by name."""
    base = base_library()
    kind, row = int(request["type"]), int(request["row"])
    traits = base.ggml_get_type_traits(kind).contents
    result = {}
    if "x" in request:
        x = np.ascontiguousarray(request["x"], np.float32)
        size = x.size // traits.blck_size * traits.type_size
        if traits.from_float_ref:
            result["from_float"] = out = np.zeros(size, np.uint8)
            Rows(traits.from_float_ref)(x.ctypes.data, out.ctypes.data, x.size)
        if "symbol" in request:
            result["reference"] = out = np.zeros(size, np.uint8)
            function = Rows((f"quantize_row_{request['symbol']}_ref", base))
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
        function = Rows(traits.to_float or (f"dequantize_row_{request['symbol']}", base))
        function(data.ctypes.data, values.ctypes.data, count)
    return result


if __name__ == "__main__":
    with np.load(sys.argv[1]) as asked:
        np.savez(sys.argv[2], **answer(dict(asked)))
