"""Runs AutoGPTQ's packing: `gptq_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

Each case of the request holds `qweight`, `qzeros`, `scales`, `g_idx` of a checkpoint to decode,
and `weights`, `zeros`, with the same scales and index, to pack. The module of its linear layer is
loaded by itself, since the package asks for a GPU's kernels at its front door.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch


def layer_class():
    package = importlib.util.find_spec("auto_gptq").submodule_search_locations[0]
    path = Path(package) / "nn_modules" / "qlinear" / "qlinear_cuda.py"
    spec = importlib.util.spec_from_file_location("qlinear_cuda", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.QuantLinear


def decoded(layer, case):
    for name in ("qweight", "qzeros", "g_idx"):
        setattr(layer, name, torch.from_numpy(case[name].view(np.int32)))
    layer.scales = torch.from_numpy(case["scales"].astype(np.float32))
    return layer(torch.eye(layer.infeatures)).T.contiguous().numpy()


def packed(layer, case):
    inputs, outputs = layer.infeatures, layer.outfeatures
    linear = torch.nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = torch.from_numpy(case["weights"])
    scales = torch.from_numpy(case["scales"].astype(np.float32).T.copy())
    zeros = torch.from_numpy(case["zeros"].astype(np.float32).T.copy())
    layer.pack(linear, scales, zeros, torch.from_numpy(case["g_idx"].view(np.int32)))
    return layer.qweight.numpy(), layer.qzeros.numpy()


def main():
    layers, request, answer = layer_class(), np.load(sys.argv[1]), {}
    names = sorted({key.partition("|")[0] for key in request.files})
    for name in names:
        case = {
            key.partition("|")[2]: request[key]
            for key in request.files
            if key.startswith(f"{name}|")
        }
        bits, group = (int(part) for part in name.split()[:2])
        outputs, inputs = case["weights"].shape

        def layer(bits=bits, group=group, inputs=inputs, outputs=outputs):
            return layers(bits, group, inputs, outputs, False, weight_dtype=torch.float32)

        answer[f"{name}|values"] = decoded(layer(), case)
        answer[f"{name}|qweight"], answer[f"{name}|qzeros"] = packed(layer(), case)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
