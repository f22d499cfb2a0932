"""Runs optimum-quanto: `quanto_worker.py REQUEST.npz ANSWER.npz`, in its environment.

The request holds `kind` (a qtype), `dtype`, `group` and `integer` for 4 and 2 bits, and either
weights `x` or planes to decode. Values are those of the package with binary32 parameters, so that
nothing is rounded to a shorter dtype on the way.
"""

import sys

import numpy as np
import torch
from optimum.quanto import AbsmaxOptimizer, MaxOptimizer, qtypes
from optimum.quanto.tensor.packed import PackedTensor
from optimum.quanto.tensor.qbits import QBitsDequantizer
from optimum.quanto.tensor.weights import WeightQBitsTensor, WeightQBytesTensor, quantize_weight

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def raw(tensor):
    """A tensor as NumPy holds it: short floats as their bits."""
    size = {1: torch.uint8, 2: torch.int16, 4: torch.float32}[tensor.element_size()]
    return tensor.detach().contiguous().view(size).numpy()


def of_bytes(x, kind, share):
    axis = 0 if share == "channel" else None
    scale = AbsmaxOptimizer()(x, qtype=kind, axis=axis)
    if axis is None:
        data = torch.ops.quanto.quantize_symmetric(x, dtype=kind.dtype, axis=None, scale=scale)
        return data, scale
    made = quantize_weight(x, qtype=kind, axis=0, scale=scale, optimized=False)
    return made._data, made._scale


def values_of_bytes(data, scale, kind, shape):
    def run(scale):
        size = torch.Size(shape)
        made = WeightQBytesTensor(kind, 0, size, (shape[1], 1), data.clone(), scale, None)
        return made.dequantize().float().numpy()

    return {"values": run(scale.float())}


def of_groups(x, kind, group, integer):
    scale, shift = MaxOptimizer()(x, kind, axis=0, group_size=group, zeropoint=integer)
    made = quantize_weight(x, kind, 0, scale, shift, group, optimized=False)
    return made._data._data, made._scale, made._shift


def values_of_groups(packed, scale, shift, kind, group, shape):
    rows = shape[0] * shape[1] // group
    data = PackedTensor(packed, kind.bits, torch.Size((rows, group)), (group, 1))
    shift = shift.float() if shift.is_floating_point() else shift
    size = torch.Size(shape)
    made = WeightQBitsTensor(kind, 0, group, size, (shape[1], 1), data, scale.float(), shift)
    return {"values": QBitsDequantizer.apply(made).numpy()}


def given(asked, name, dtype):
    tensor = torch.from_numpy(asked[name])
    return tensor.view(dtype) if tensor.dtype != dtype else tensor


def main():
    asked = dict(np.load(sys.argv[1]))
    kind, dtype = qtypes[str(asked["kind"])], DTYPES[str(asked["dtype"])]
    group, integer = int(asked.get("group", 0)), bool(asked.get("integer", False))
    if "x" in asked:
        x = torch.from_numpy(asked["x"]).to(dtype)
        shape = list(x.shape)
        names = ("data", "scale", "shift")
        found = of_groups(x, kind, group, integer) if group else of_bytes(x, kind, asked["share"])
    else:
        shape = asked["shape"].tolist()
        found = [given(asked, "data", torch.uint8 if group else kind.dtype)]
        found += [given(asked, "scale", dtype)]
        found += [given(asked, "shift", torch.uint8 if integer else dtype)] if group else []
        names = ()
    answer = {name: raw(tensor) for name, tensor in zip(names, found, strict=False)}
    decode = values_of_groups if group else values_of_bytes
    answer |= decode(*found, kind, *([group] if group else []), shape)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
