"""Runs torchao's activation quantizers: `torchao_tokens_worker.py REQUEST.npz ANSWER.npz`.

The request holds `x`, and may hold `weights` (f32[n, k]) and `bits`. The answer holds, for the
floors of the scale that torchao uses (`eps`: the 8da4w quantizer; `tiny`: IntxUnpackedToInt8Tensor)
`codes_`, `scale_`, `zero_point_` and `values_`, and with weights the output of the 8da4w module.
"""

import sys

import numpy as np
import torch
from torchao.quantization import quant_primitives as primitives
from torchao.quantization.linear_quant_modules import Int8DynActInt4WeightQuantizer
from torchao.quantization.quantize_.workflows.intx import intx_unpacked_to_int8_tensor as intx
from torchao.quantization.utils import per_token_dynamic_quant

EPS = float(torch.finfo(torch.float32).eps)


def tokens(x, eps, zero_point_dtype):
    scale, zero = primitives.choose_qparams_affine(
        x,
        primitives.MappingType.ASYMMETRIC,
        (1, x.shape[1]),
        torch.int8,
        -128,
        127,
        eps=eps,
        scale_dtype=torch.float32,
        zero_point_dtype=zero_point_dtype,
    )
    codes = primitives.quantize_affine(x, (1, x.shape[1]), scale, zero, torch.int8, -128, 127)
    return codes, scale, zero


def main():
    asked = np.load(sys.argv[1])
    x, answer = torch.from_numpy(asked["x"]), {}
    whole = {
        "eps": per_token_dynamic_quant(x, torch.float32, torch.float32, EPS),
        "tiny": intx._apply_int8_act_asym_per_token_quant_dequant(x),
    }
    for name, eps, dtype in (("eps", EPS, torch.float32), ("tiny", None, torch.int8)):
        codes, scale, zero = tokens(x, eps, dtype)
        answer[f"codes_{name}"] = codes.numpy()
        answer[f"scale_{name}"] = scale.numpy().reshape(-1)
        answer[f"zero_point_{name}"] = zero.to(torch.int32).numpy().reshape(-1)
        answer[f"values_{name}"] = whole[name].numpy()
    if "weights" in asked:
        weights = torch.from_numpy(asked["weights"])
        layer = torch.nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        layer.weight.data = weights
        model = torch.nn.Sequential(layer)
        model = Int8DynActInt4WeightQuantizer(groupsize=int(asked["group"])).quantize(model)
        answer["output"] = model(x).detach().numpy()
        answer["weight_codes"] = model[0].weight.numpy()
        answer["weight_scale"] = model[0].scales.numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
