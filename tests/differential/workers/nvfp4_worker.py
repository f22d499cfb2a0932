"""Runs ModelOpt's or torchao's NVFP4: `nvfp4_worker.py CONVENTION REQUEST.npz ANSWER.npz`.

The request holds weights `x`, f32[tensors, rows, columns], or bytes `codes` and `scales` with
`tensor_scale`; each tensor has a scale of its own. Codes are packed, as they are stored.
"""

import sys

import numpy as np
import torch


def modelopt_values(packed, scale, tensor_scale, shape):
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

    found = NVFP4QTensor(torch.Size(shape), torch.float32, packed)
    return found.dequantize(
        torch.float32, scale=scale, double_scale=tensor_scale, block_sizes={-1: 16}
    )


def modelopt(x):
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

    found, scale, tensor_scale = NVFP4QTensor.quantize(x.clone(), 16)
    return found._quantized_data, scale, tensor_scale


def torchao_values(packed, scale, tensor_scale, shape):
    from torchao.prototype.mx_formats import nvfp4_tensor

    made = nvfp4_tensor.NVFP4Tensor(packed, scale, 16, torch.float32, per_tensor_scale=tensor_scale)
    return made.dequantize(torch.float32)


def torchao(x):
    from torchao.prototype.mx_formats import nvfp4_tensor

    tensor_scale = nvfp4_tensor.per_tensor_amax_to_scale(x.abs().max())
    scale, packed = nvfp4_tensor.nvfp4_quantize(x, 16, tensor_scale)
    return packed, scale, tensor_scale


FUNCTIONS = {"modelopt": (modelopt, modelopt_values), "torchao": (torchao, torchao_values)}


def given(asked, k):
    """Tensor number `k` of a request for values."""
    parts = [torch.from_numpy(asked[part][k]) for part in ("codes", "scales")]
    return parts[0], parts[1].view(torch.float8_e4m3fn), torch.tensor(asked["tensor_scale"][k])


def main():
    convention, request, answer = sys.argv[1:]
    encode, decode = FUNCTIONS[convention]
    asked, found = dict(np.load(request)), {}
    for k in range(len(asked.get("x", asked.get("codes")))):
        parts = encode(torch.from_numpy(asked["x"][k])) if "x" in asked else given(asked, k)
        packed, scale, tensor_scale = parts
        values = decode(*parts, (packed.shape[0], packed.shape[1] * 2))
        for name, array in (
            ("codes", packed.view(torch.uint8)),
            ("scales", scale.view(torch.uint8)),
            ("tensor_scale", tensor_scale.reshape(())),
            ("values", values),
        ):
            found.setdefault(name, []).append(array.numpy())
    np.savez(answer, **{name: np.stack(arrays) for name, arrays in found.items()})


if __name__ == "__main__":
    main()
