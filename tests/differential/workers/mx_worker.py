"""Runs torchao's MX casts: `mx_worker.py REQUEST.npz ANSWER.npz`, in torchao's environment.

The request holds a `format`, and weights `x` with a `rule` or bytes `codes` and `scale`. The answer
holds scale bytes, unpacked codes and values.
"""

import sys

import numpy as np
import torch
from torchao.prototype.mx_formats import constants, kernels
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx

FORMATS = {
    "mxfp8_e4m3": torch.float8_e4m3fn,
    "mxfp8_e5m2": torch.float8_e5m2,
    "mxfp6_e2m3": constants.DTYPE_FP6_E2M3,
    "mxfp6_e3m2": constants.DTYPE_FP6_E3M2,
    "mxfp4": torch.float4_e2m1fn_x2,
}


def main():
    asked = dict(np.load(sys.argv[1]))
    name, answer = str(asked["format"]), {}
    dtype = FORMATS[name]
    if "x" in asked:
        mode = ScaleCalculationMode[str(asked["rule"]).upper()]
        scale, data = to_mx(torch.from_numpy(asked["x"]), dtype, 32, mode)
        codes = kernels.unpack_uint4(data) if name == "mxfp4" else data
        answer = {
            "scale": scale.view(torch.uint8).numpy(),
            "codes": codes.view(torch.uint8).numpy(),
        }
    else:
        codes, scale = (torch.from_numpy(asked[part]) for part in ("codes", "scale"))
        scale = scale.view(torch.float8_e8m0fnu)
        data = kernels.pack_uint4(codes) if name == "mxfp4" else codes
        data = data.view(dtype) if name.startswith("mxfp8") else data
    values = to_dtype(data, scale, dtype, 32, torch.float32).numpy()
    np.savez(sys.argv[2], **answer, values=values)


if __name__ == "__main__":
    main()
