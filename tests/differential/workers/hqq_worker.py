"""Runs HQQ's quantizer: `hqq_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

The request holds `bits`, `group`, `zero` and weights `x`, or `codes`, `scale` and `zero` of each
group. Codes are packed and unpacked by HQQ itself, so that the answer holds one byte for each.
"""

import sys

import numpy as np
import torch
from hqq.core.quantize import Quantizer


def quantized(x, asked):
    packed, meta = Quantizer.quantize(
        x,
        nbits=int(asked["bits"]),
        group_size=int(asked["group"]),
        axis=1,
        optimize=False,
        round_zero=str(asked["zero"]) == "rounded",
        device="cpu",
    )
    meta["compute_dtype"] = torch.float32
    return packed, meta


def given(asked):
    """Codes and parameters of a request in HQQ's own packing."""
    codes = torch.from_numpy(asked["codes"])
    _, meta = quantized(torch.zeros(codes.shape), {**asked, "zero": "real"})
    meta |= {part: torch.from_numpy(asked[part]) for part in ("scale", "zero")}
    rows = codes.reshape(-1, int(asked["group"]))
    return Quantizer.pack[meta["packing"]](rows), meta


def main():
    asked = dict(np.load(sys.argv[1]))
    if "codes" in asked:
        np.savez(sys.argv[2], values=Quantizer.dequantize(*given(asked)).numpy())
        return
    x = torch.from_numpy(asked["x"])
    packed, meta = quantized(x, asked)
    codes = Quantizer.unpack[meta["packing"]](packed, dtype=torch.uint8)
    np.savez(
        sys.argv[2],
        q=codes[: x.numel() // int(asked["group"])].reshape(x.shape).numpy(),
        scale=meta["scale"].numpy(),
        zero=meta["zero"].numpy(),
        values=Quantizer.dequantize(packed, meta).numpy(),
    )


if __name__ == "__main__":
    main()
