"""Runs torchao's MX casts: `mx_worker.py REQUEST.npz ANSWER.npz`, in torchao's environment.

The answer holds scale bytes, unpacked codes and values for every format and every rule.
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
    x = torch.from_numpy(np.load(sys.argv[1])["x"])
    answer = {}
    for name, dtype in FORMATS.items():
        for rule in ("floor", "ceil", "even", "rceil"):
            scale, data = to_mx(x, dtype, 32, ScaleCalculationMode[rule.upper()])
            codes = kernels.unpack_uint4(data) if name == "mxfp4" else data
            answer[f"{name} {rule} scale"] = scale.view(torch.uint8).numpy()
            answer[f"{name} {rule} codes"] = codes.view(torch.uint8).numpy()
            values = to_dtype(data, scale, dtype, 32, torch.float32)
            answer[f"{name} {rule} values"] = values.numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
