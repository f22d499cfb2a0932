"""Runs bitsandbytes: `bnb_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

The request holds weights `x`. The answer has, for each kind and block size, the bytes, `absmax`
and the values that the package decodes them to. `dynamic8` is the formula of its default backend
in torch operations: its CPU kernel looks codes up in a coarser table (`native` holds its codes).
"""

import sys

import numpy as np
import torch
from bitsandbytes import functional

KINDS = {"nf4": (32, 64, 128, 4096), "fp4": (32, 64, 128, 4096), "dynamic8": (64, 256, 4096)}


def four_bit(x, kind, block):
    packed, state = functional.quantize_4bit(x, blocksize=block, quant_type=kind)
    return packed.reshape(-1), state.absmax, functional.dequantize_4bit(packed, state)


def dynamic(x, block):
    table = functional.create_dynamic_map()
    blocks = x.reshape(-1, block)
    absmax = blocks.abs().max(dim=-1)[0]
    scaled = torch.clamp(blocks * (1.0 / absmax.clamp(min=1e-38).view(-1, 1)), -1, 1)
    codes = torch.bucketize(scaled, (table[:-1] + table[1:]) / 2, out_int32=True)
    codes = codes.to(torch.uint8).reshape(x.shape)
    state = functional.QuantState(absmax=absmax, code=table, blocksize=block, dtype=x.dtype)
    native, _ = functional.quantize_blockwise(x, code=table.clone(), blocksize=block)
    return codes.reshape(-1), absmax, functional.dequantize_blockwise(codes, state), native


def main():
    x = torch.from_numpy(np.load(sys.argv[1])["x"])
    answer = {}
    for kind, blocks in KINDS.items():
        for block in blocks:
            found = dynamic(x, block) if kind == "dynamic8" else four_bit(x, kind, block)
            names = ("codes", "absmax", "values", "native")
            for name, part in zip(names, found, strict=False):
                answer[f"{kind} {block} {name}"] = part.numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
