"""Runs MLX: `mlx_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

The request holds weights `x`, or words `codes` with `scales` (and `biases`), and either `bits`,
`group` and `dtype` of the affine mode or the `mode` of block floats. Half-precision arrays are
asked and answered as their bits.
"""

import sys

import mlx.core as mx
import numpy as np

DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}


def plain(array):
    """The array's bytes in NumPy."""
    if array.dtype in (mx.float16, mx.bfloat16):
        array = array.view(mx.uint16)
    return np.array(array)


def affine(asked):
    settings = {"group_size": int(asked["group"]), "bits": int(asked["bits"])}
    dtype = DTYPES[str(asked["dtype"])]
    if "x" in asked:
        words, scales, biases = mx.quantize(mx.array(asked["x"]).astype(dtype), **settings)
    else:
        words = mx.array(asked["codes"])
        scales, biases = (mx.array(asked[part]).view(dtype) for part in ("scales", "biases"))
    values = mx.dequantize(words, scales, biases, **settings)
    return {"codes": words, "scales": scales, "biases": biases, "values": values}


def block_floats(asked):
    mode = str(asked["mode"])
    settings = {
        "mode": mode,
        "group_size": 16 if mode == "nvfp4" else 32,
        "bits": 8 if mode == "mxfp8" else 4,
    }
    if "x" in asked:
        words, scales = mx.quantize(mx.array(asked["x"]), **settings)
    else:
        words, scales = mx.array(asked["codes"]), mx.array(asked["scales"])
    values = mx.dequantize(words, scales, **settings, dtype=mx.float32)
    return {"codes": words, "scales": scales, "values": values}


def main():
    asked = dict(np.load(sys.argv[1]))
    found = block_floats(asked) if "mode" in asked else affine(asked)
    np.savez(sys.argv[2], **{part: plain(array) for part, array in found.items()})


if __name__ == "__main__":
    main()
