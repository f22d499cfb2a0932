"""Runs torch-to-nnef's percentiles and chains: `t2n_chain_worker.py REQUEST.npz ANSWER.npz`.

The request holds weights `x` and `percentiles`. The answer has the bytes of blocks for each, and
for chains of two compressors, written here as users of the package write them, what its tensor
keeps and what it gives back.
"""

import sys
import zlib

import numpy as np
import torch
from torch_to_nnef.tensor.quant import (
    QScalePerGroupF16,
    QTensor,
    U8Compressor,
    fp_to_tract_q4_0_with_min_max_calibration,
)


class Pairs(U8Compressor):
    """Two codes of 4 bits in a byte, the first in the low bits."""

    def compress(self, u8_tensor):
        self.shape = u8_tensor.shape
        flat = u8_tensor.reshape(-1, 2)
        return flat[:, 0] | flat[:, 1] << 4

    def decompress(self, u8_tensor):
        flat = torch.stack([u8_tensor & 15, u8_tensor >> 4], dim=1)
        return flat.reshape(self.shape)


class Deflated(U8Compressor):
    """A zlib stream."""

    def compress(self, u8_tensor):
        self.shape = u8_tensor.shape
        raw = zlib.compress(u8_tensor.contiguous().numpy().tobytes(), 9)
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8)

    def decompress(self, u8_tensor):
        raw = zlib.decompress(u8_tensor.numpy().tobytes())
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(self.shape)


def main():
    request, answer = np.load(sys.argv[1]), {}
    x = torch.from_numpy(request["x"])
    for percentile in request["percentiles"].tolist():
        found = fp_to_tract_q4_0_with_min_max_calibration(x, percentile=percentile / 100)
        answer[f"p{percentile}"] = np.frombuffer(found._build_binary_dat_content(True), np.uint8)
    scale = found.qscheme.scale
    for name, chain in (
        ("none", []),
        ("pairs", [Pairs()]),
        ("deflated", [Deflated()]),
        ("both", [Pairs(), Deflated()]),
    ):
        scheme = QScalePerGroupF16(32, scale, 4)
        tensor = QTensor(x, scheme, u8_compressors=chain)
        answer[f"{name} stored"] = tensor.u8_blob.numpy()
        answer[f"{name} codes"] = tensor.decompress_to_u8().numpy()
        answer[f"{name} values"] = tensor.decompress().numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
