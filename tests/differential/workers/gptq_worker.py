"""Runs AutoGPTQ's packing: `gptq_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

Each case of the request holds `qweight`, `qzeros`, `scales`, `g_idx` of a checkpoint to decode,
and `weights`, `zeros`, with the same scales and index, to pack; or weights `x` of groups and
`symmetric`, for which its quantizer chooses scales, zero points and codes. Modules are loaded by
themselves, since the package asks for a GPU's kernels at its front door.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch


def module_at(*place):
    package = importlib.util.find_spec("auto_gptq").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(place[-1], Path(package, *place[:-1], place[-1]))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def chosen(x, bits, symmetric):
    """Scales, zero points and values of groups."""
    quantizer = module_at("quantization", "quantizer.py").Quantizer()
    quantizer.configure(bits, perchannel=True, sym=symmetric)
    quantizer.find_params(x, weight=True)
    found = {"scale": quantizer.scale, "zero": quantizer.zero, "values": quantizer.quantize(x)}
    return {part: tensor.numpy() for part, tensor in found.items()}


def main():
    layers = module_at("nn_modules", "qlinear", "qlinear_cuda.py").QuantLinear
    request, answer = np.load(sys.argv[1]), {}
    names = sorted({key.partition("|")[0] for key in request.files})
    for name in names:
        case = {
            key.partition("|")[2]: request[key]
            for key in request.files
            if key.startswith(f"{name}|")
        }
        bits, group = (int(part) for part in name.split()[:2])
        if "x" in case:
            found = chosen(torch.from_numpy(case["x"]), bits, bool(case["symmetric"]))
            answer |= {f"{name}|{part}": array for part, array in found.items()}
            continue
        outputs, inputs = case["weights"].shape

        def layer(bits=bits, group=group, inputs=inputs, outputs=outputs):
            return layers(bits, group, inputs, outputs, False, weight_dtype=torch.float32)

        answer[f"{name}|values"] = decoded(layer(), case)
        answer[f"{name}|qweight"], answer[f"{name}|qzeros"] = packed(layer(), case)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
