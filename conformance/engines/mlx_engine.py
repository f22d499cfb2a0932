"""MLX on the CPU: affine weights and block floats."""

from importlib.metadata import version

import mlx.core as mx
import numpy as np
from protocol import Table, both, f32, serve, stored


def words(planes):
    codes = planes["codes"]
    return mx.array(np.ascontiguousarray(codes).reshape(len(codes), -1).view("<u4"))


def affine(bits):
    settings = {"group_size": 64, "bits": bits}

    def decode(planes, _):
        parts = (mx.array(f32(planes[name])) for name in ("scales", "biases"))
        return np.array(mx.dequantize(words(planes), *parts, **settings))

    def encode(x, _):
        codes, scales, biases = map(np.array, mx.quantize(mx.array(x), **settings))
        return {
            "codes": stored(codes, 1), "scales": stored(scales), "biases": stored(biases)
        }  # fmt: skip

    return decode, encode


def blocks(mode):
    group, bits = (16 if mode == "nvfp4" else 32), (8 if mode == "mxfp8" else 4)
    settings = {"mode": mode, "group_size": group, "bits": bits}

    def decode(planes, shape):
        # MLX takes rows of whole 32 weights; what is filled up is cut away again.
        more = -shape[1] % 32
        scales = np.pad(planes["scales"][..., 0], ((0, 0), (0, more // group)))
        codes = planes["codes"].reshape(len(scales), -1)
        whole = {"codes": np.pad(codes, ((0, 0), (0, more * bits // 8)))}
        values = mx.dequantize(words(whole), mx.array(scales), **settings, dtype=mx.float32)
        return np.array(values)[:, : shape[1]]

    def encode(x, _):
        codes, scales = map(np.array, mx.quantize(mx.array(x), **settings))
        return {"codes": stored(codes, 1), "scales": stored(scales, 1)}

    return decode, encode


def main() -> None:
    table: Table = {}
    for bits in (4, 5):
        both(table, f"mlx/affine[bits={bits},group=64]", *affine(bits))
    both(table, "mlx/nvfp4", *blocks("nvfp4"))
    # Scales were rounded to nearest before 0.32.1: those encoders are another scheme.
    ceils = tuple(map(int, version("mlx").split("."))) > (0, 32, 0)
    for mode in ("mxfp4", "mxfp8"):
        decode, encode = blocks(mode)
        both(table, f"mlx/{mode}[scale=ceil]", decode, encode if ceils else None)
    serve("mlx", version("mlx"), "C++", table)


if __name__ == "__main__":
    main()
