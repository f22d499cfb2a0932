"""Runs HQQ's quantizer: `hqq_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

Codes are packed and unpacked by HQQ itself, so that the answer holds one byte for each.
"""

import sys

import numpy as np
import torch
from hqq.core.quantize import Quantizer


def main():
    request = np.load(sys.argv[1])
    x = torch.from_numpy(request["x"])
    answer = {}
    for name in request["names"].tolist():
        bits, group, zero = name.split()
        packed, meta = Quantizer.quantize(
            x,
            nbits=int(bits),
            group_size=int(group),
            axis=1,
            optimize=False,
            round_zero=zero == "rounded",
            device="cpu",
        )
        meta["compute_dtype"] = torch.float32
        codes = Quantizer.unpack[meta["packing"]](packed, dtype=torch.uint8)
        answer[f"{name} codes"] = codes[: x.numel() // int(group)].reshape(x.shape).numpy()
        answer[f"{name} scale"] = meta["scale"].numpy()
        answer[f"{name} zero"] = meta["zero"].numpy()
        answer[f"{name} values"] = Quantizer.dequantize(packed, meta).numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
