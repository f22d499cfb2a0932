"""Runs MLX: `mlx_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

The request holds weights `x`, the names of what to run, and random bytes to decode for the modes
of block floats. Half-precision arrays are answered as their bits.
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


def affine(x, bits, group, dtype):
    words, scales, biases = mx.quantize(x.astype(DTYPES[dtype]), group_size=group, bits=bits)
    values = mx.dequantize(words, scales, biases, group_size=group, bits=bits)
    return {"codes": words, "scales": scales, "biases": biases, "values": values}


def block_floats(x, mode, request):
    settings = {
        "mode": mode,
        "group_size": 16 if mode == "nvfp4" else 32,
        "bits": 8 if mode == "mxfp8" else 4,
    }
    words, scales = mx.quantize(x, **settings)
    values = mx.dequantize(words, scales, **settings, dtype=mx.float32)
    random_words = mx.array(request[f"{mode} words"])
    random_scales = mx.array(request[f"{mode} scales"])
    decoded = mx.dequantize(random_words, random_scales, **settings, dtype=mx.float32)
    return {"codes": words, "scales": scales, "values": values, "decoded": decoded}


def main():
    request = np.load(sys.argv[1])
    x = mx.array(request["x"])
    answer = {}
    for name in request["names"].tolist():
        if name in ("mxfp4", "mxfp8", "nvfp4"):
            found = block_floats(x, name, request)
        else:
            bits, group, dtype = name.split()
            found = affine(x, int(bits), int(group), dtype)
        answer |= {f"{name} {part}": plain(array) for part, array in found.items()}
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
