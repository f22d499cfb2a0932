"""Runs torchao's unsigned groups and fitted scales: `uintx_worker.py REQUEST.npz ANSWER.npz`.

The request holds `kind`, `bits`, `group` and `x`. For `min_max` and `hqq`, `dtype` is that of the
weights; the answer has what UIntxWeightOnlyQuantizedLinear stores, the codes as its packing
operator is given them, and for `hqq` the solver's zero points. For `scale_only` there are `rounds`.
With `codes`, `scale` and `offset` in place of `x` the answer has values alone.
"""

import sys
from functools import partial

import numpy as np
import torch
from torchao.experimental import quant_api
from torchao.quantization import quant_primitives as primitives

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SOLVER = primitives.optimize_weights_proximal_legacy


def unsigned(x, asked):
    kept = {}

    def pack(codes):
        kept["codes"] = codes.clone()
        return codes

    def solver(**arguments):
        found = SOLVER(**arguments)
        kept["zero"] = found[2]
        return found

    quant_api._choose_qparams_and_quantize_affine_hqq = partial(
        primitives._choose_qparams_and_quantize_affine_hqq, optimize_weights=solver
    )
    layer = quant_api.UIntxWeightOnlyQuantizedLinear(pack, None)
    weights = x.to(DTYPES[str(asked["dtype"])])
    layer.quantize_and_pack_weights(weights, int(asked["bits"]), int(asked["group"]), asked["kind"])
    scale, offset = layer.weight_scales.data.float(), layer.weight_zeros.data.float()
    found = {"codes": kept["codes"], "scale": scale, "offset": offset}
    return found | ({"zero": kept["zero"]} if "zero" in kept else {})


def scale_only(x, asked):
    most = 1 << (int(asked["bits"]) - 1)
    codes, scale = primitives._choose_qparams_and_quantize_scale_only_hqq(
        x, [1, int(asked["group"])], -most, most - 1, iters=int(asked["rounds"])
    )
    return {"codes": codes, "scale": scale}


def values(asked, found):
    """What codes and parameters stand for."""
    rows, group = found["codes"].shape[0], int(asked["group"])
    codes = found["codes"].float().reshape(rows, -1, group)
    if "offset" in found:
        real = codes * found["scale"][..., None] + found["offset"][..., None]
        return real.reshape(rows, -1)
    block, most = (1, group), 1 << (int(asked["bits"]) - 1)
    zero = torch.zeros(found["scale"].shape, dtype=torch.int8)
    signed = found["codes"].to(torch.int8)
    return primitives.dequantize_affine(
        signed, block, found["scale"], zero, torch.int8, -most, most - 1
    )


def main():
    asked = dict(np.load(sys.argv[1]))
    asked["kind"] = str(asked["kind"])
    if "codes" in asked:
        found = {k: torch.from_numpy(asked[k]) for k in ("codes", "scale", "offset") if k in asked}
        np.savez(sys.argv[2], values=values(asked, found).numpy())
        return
    run = scale_only if asked["kind"] == "scale_only" else unsigned
    found = run(torch.from_numpy(asked["x"]), asked)
    found["values"] = values(asked, found)
    np.savez(sys.argv[2], **{name: part.numpy() for name, part in found.items()})


if __name__ == "__main__":
    main()
