"""Casts binary32 to torch's 8-bit floats and back: `float8_worker.py REQUEST.npz ANSWER.npz`.

The request holds the `dtype`, and weights `x` or bytes `codes`.
"""

import sys

import numpy as np
import torch

DTYPES = {
    "f8_e4m3fn": torch.float8_e4m3fn,
    "f8_e5m2": torch.float8_e5m2,
    "f8_e4m3fnuz": torch.float8_e4m3fnuz,
    "f8_e5m2fnuz": torch.float8_e5m2fnuz,
}


def main():
    asked = dict(np.load(sys.argv[1]))
    dtype = DTYPES[str(asked["dtype"])]
    if "x" in asked:
        codes = torch.from_numpy(asked["x"]).to(dtype).view(torch.uint8)
        np.savez(sys.argv[2], codes=codes.numpy())
    else:
        values = torch.from_numpy(asked["codes"]).view(dtype).to(torch.float32)
        np.savez(sys.argv[2], values=values.numpy())


if __name__ == "__main__":
    main()
