"""ml_dtypes: casts of NumPy arrays to short floats and back (C++ behind NumPy)."""

from importlib.metadata import version

import ml_dtypes
import numpy as np
from protocol import Table, both, serve

WHOLE = {
    "float/f16": np.float16,
    "float/bf16": ml_dtypes.bfloat16,
    "float/f8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float/f8_e5m2": ml_dtypes.float8_e5m2,
    "float/f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float/f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float/f8_e8m0": ml_dtypes.float8_e8m0fnu,
    "float/f8_e4m3fn[overflow=saturate]": ml_dtypes.float8_e4m3fn,
    "float/f8_e5m2[overflow=saturate]": ml_dtypes.float8_e5m2,
    "float/f8_e4m3fnuz[overflow=saturate]": ml_dtypes.float8_e4m3fnuz,
    "float/f8_e5m2fnuz[overflow=saturate]": ml_dtypes.float8_e5m2fnuz,
    "float/f8_e8m0[rounding=nearest]": ml_dtypes.float8_e8m0fnu,
}


def main() -> None:
    table: Table = {}
    for name, dtype in WHOLE.items():

        def decode(planes, _, dtype=dtype):
            return np.ascontiguousarray(planes["values"]).view(dtype)[..., 0].astype(np.float32)

        def encode(x, _, dtype=dtype):
            return {"values": x.astype(dtype)[..., None].view(np.uint8)}

        # Casts here overflow to NaN or infinity: the saturating encoders are another behaviour.
        saturates = "saturate" in name
        both(table, name, decode, None if saturates else encode)
    four = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    both(
        table,
        "float/f4_e2m1fn",
        lambda a, shape: four[np.stack([a["values"] & 15, a["values"] >> 4], -1)].reshape(shape),
        lambda x, _: {"values": pairs(x.astype(ml_dtypes.float4_e2m1fn).view(np.uint8))},
    )
    serve("ml_dtypes", version("ml_dtypes"), "C++", table)


def pairs(codes):
    """Two codes a byte, the first one low; only the packing is not ml_dtypes' own."""
    return (codes[:, ::2] & 15) | (codes[:, 1::2] << 4)


if __name__ == "__main__":
    main()
