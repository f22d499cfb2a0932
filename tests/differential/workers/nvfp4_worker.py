"""Runs ModelOpt's or torchao's NVFP4: `nvfp4_worker.py CONVENTION REQUEST.npz ANSWER.npz`.

Each tensor of the request has a scale of its own. Codes are answered packed, as they are stored.
"""

import sys

import numpy as np
import torch


def modelopt(x):
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

    found, scale, tensor_scale = NVFP4QTensor.quantize(x.clone(), 16)
    values = found.dequantize(
        torch.float32, scale=scale, double_scale=tensor_scale, block_sizes={-1: 16}
    )
    return found._quantized_data, scale, tensor_scale, values


def torchao(x):
    from torchao.prototype.mx_formats import nvfp4_tensor

    tensor_scale = nvfp4_tensor.per_tensor_amax_to_scale(x.abs().max())
    scale, packed = nvfp4_tensor.nvfp4_quantize(x, 16, tensor_scale)
    made = nvfp4_tensor.NVFP4Tensor(packed, scale, 16, torch.float32, per_tensor_scale=tensor_scale)
    return packed, scale, tensor_scale, made.dequantize(torch.float32)


def main():
    convention, request, answer = sys.argv[1:]
    found = {}
    run = {"modelopt": modelopt, "torchao": torchao}[convention]
    with np.load(request) as asked:
        for name in asked.files:
            codes, scale, tensor_scale, values = run(torch.from_numpy(asked[name]))
            found[f"{name} codes"] = codes.view(torch.uint8).numpy()
            found[f"{name} scales"] = scale.view(torch.uint8).numpy()
            found[f"{name} tensor_scale"] = tensor_scale.numpy()
            found[f"{name} values"] = values.numpy()
    np.savez(answer, **found)


if __name__ == "__main__":
    main()
