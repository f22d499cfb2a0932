"""Runs torchao on weights, in its environment: torch takes seconds to import, so once for many.

Each line of standard input names a request and an answer, with a tab between them; a line of
output says that the answer is written. A request holds `kind` (affine, tinygemm or torchchat), that
kind's settings and weights `x`, or `codes`, `scale` and `zero_point`; the answer holds `codes`,
`scale`, `zero_point` (or the real offset) and `values`, all in plain dtypes.
"""

import sys

import numpy as np
import torch
from torchao.quantization import quant_primitives as primitives
from torchao.quantization import utils

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
MAPPINGS = {
    "sym": primitives.MappingType.SYMMETRIC,
    "no_clip": primitives.MappingType.SYMMETRIC_NO_CLIPPING_ERR,
    "asym": primitives.MappingType.ASYMMETRIC,
}


def affine(x, asked):
    bits, block = int(asked["bits"]), (1, int(asked["group"]))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    eps = {"tiny": None, "eps": 2.0**-23}[str(asked["eps"])]
    scale, zero = primitives.choose_qparams_affine(
        x,
        MAPPINGS[str(asked["mapping"])],
        block,
        torch.int8,
        low,
        high,
        eps=eps,
        scale_dtype=DTYPES[str(asked["storage"])],
        zero_point_dtype=torch.int8,
    )
    # IntxUnpackedToInt8Tensor casts the scale first and chooses codes with the cast one.
    wide = scale.to(torch.float32)
    codes = primitives.quantize_affine(x, block, wide, zero, torch.int8, low, high)
    values = primitives.dequantize_affine(codes, block, wide, zero, torch.int8, low, high)
    return codes, scale, zero, values


def tinygemm(x, asked):
    dtype, group = DTYPES[str(asked["storage"])], int(asked["group"])
    weights = x.to(DTYPES[str(asked["weights"])])
    scale, offset = utils.get_groupwise_affine_qparams(weights, 4, group, dtype)
    codes = utils.groupwise_affine_quantize_tensor_from_qparams(weights, scale, offset, 4, group)
    values = utils.groupwise_affine_dequantize_tensor_from_qparams(
        codes, scale.float(), offset.float(), 4, group
    )
    # A group whose range overflows has NaN codes, which become the least int32: four zero bits.
    return codes & 15, scale, offset, values


def torchchat(x, asked):
    """The formula of torchchat's `dynamically_quantize_per_channel`, in torch operations."""
    bits, group = int(asked["bits"]), int(asked["group"])
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    rows, width = x.shape
    padded = torch.nn.functional.pad(x, (0, -width % group)).reshape(rows, -1, group)
    zero = torch.zeros(())
    least = torch.min(padded.amin(2), zero)
    most = torch.max(padded.amax(2), zero)
    scale = torch.max(-least, most) / (float(high - low) / 2)
    scale = torch.clamp(scale, min=torch.finfo(torch.float32).eps)
    codes = torch.clamp(torch.round(padded / scale[..., None]), low, high).to(torch.int8)
    stored = scale.to(DTYPES[str(asked["storage"])])
    values = codes.float() * stored.float()[..., None]
    return (
        codes.reshape(rows, -1)[:, :width],
        stored,
        torch.zeros(1),
        values.reshape(rows, -1)[:, :width],
    )


def affine_values(asked, codes, scale, zero):
    bits, block = int(asked["bits"]), (1, int(asked["group"]))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    zero = zero.to(torch.int8)
    return primitives.dequantize_affine(
        codes.to(torch.int8), block, scale, zero, torch.int8, low, high
    )


def tinygemm_values(asked, codes, scale, offset):
    return utils.groupwise_affine_dequantize_tensor_from_qparams(
        codes.to(torch.int32), scale, offset, 4, int(asked["group"])
    )


def torchchat_values(asked, codes, scale, _):
    spread = scale.repeat_interleave(int(asked["group"]), dim=1)[:, : codes.shape[1]]
    return codes.float() * spread


def given_values(asked):
    """Values of given codes and parameters."""
    function = {
        "affine": affine_values,
        "tinygemm": tinygemm_values,
        "torchchat": torchchat_values,
    }[str(asked["kind"])]
    codes, scale = (torch.from_numpy(asked[part]) for part in ("codes", "scale"))
    zero = (
        torch.from_numpy(asked["zero_point"]) if "zero_point" in asked else torch.zeros(scale.shape)
    )
    return {"values": function(asked, codes, scale, zero).numpy()}


def answer(asked):
    if "codes" in asked:
        return given_values(asked)
    kind = {"affine": affine, "tinygemm": tinygemm, "torchchat": torchchat}[str(asked["kind"])]
    codes, scale, zero, values = kind(torch.from_numpy(asked["x"]), asked)
    return {
        "codes": codes.to(torch.int32).numpy(),
        "scale": scale.float().numpy(),
        "zero_point": zero.float().numpy(),
        "values": values.float().numpy(),
    }


def main():
    for line in sys.stdin:
        request, place = line.rstrip("\n").split("\t")
        np.savez(place, **answer(dict(np.load(request))))
        print("written", flush=True)


if __name__ == "__main__":
    main()
