"""Runs bitsandbytes: `bnb_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

The request holds `kind`, `block` and weights `x`, or bytes `codes` with `absmax` of `shape`. The
answer has the bytes, `absmax` and the values that the package decodes them to. `dynamic8` is the
formula of its default backend in torch operations: its CPU kernel looks codes up in a coarser
table. `int8` are weights of LLM.int8() by its own parameter class.
"""

import sys

import numpy as np
import torch
from bitsandbytes import functional
from bitsandbytes.nn import Int8Params


def dynamic_state(absmax, block):
    return functional.QuantState(
        absmax=absmax, code=functional.create_dynamic_map(), blocksize=block, dtype=torch.float32
    )


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
    values = functional.dequantize_blockwise(codes, dynamic_state(absmax, block))
    return codes.reshape(-1), absmax, values


def rows(x):
    kept = Int8Params(x, requires_grad=False, has_fp16_weights=False)._quantize("cpu")
    values = functional.int8_vectorwise_dequant(kept.CB, kept.SCB)
    return kept.CB, kept.SCB, values


def decoded(asked, kind, block):
    codes, absmax = (torch.from_numpy(asked[part]) for part in ("codes", "absmax"))
    shape = tuple(map(int, asked["shape"]))
    if kind == "int8":
        return functional.int8_vectorwise_dequant(codes.to(torch.int8), absmax)
    if kind == "dynamic8":
        return functional.dequantize_blockwise(codes.reshape(shape), dynamic_state(absmax, block))
    state = functional.QuantState(
        absmax=absmax, shape=shape, dtype=torch.float32, blocksize=block, quant_type=kind
    )
    return functional.dequantize_4bit(codes.reshape(-1, 1), state)


def main():
    asked = np.load(sys.argv[1])
    kind, block = str(asked["kind"]), int(asked["block"])
    if "x" not in asked:
        np.savez(sys.argv[2], values=decoded(asked, kind, block).numpy())
        return
    x = torch.from_numpy(asked["x"])
    if kind == "int8":
        found = rows(x)
    else:
        found = dynamic(x, block) if kind == "dynamic8" else four_bit(x, kind, block)
    names = ("codes", "absmax", "values")
    np.savez(sys.argv[2], **{n: part.numpy() for n, part in zip(names, found, strict=True)})


if __name__ == "__main__":
    main()
