"""Runs bitsandbytes' double quantization: `bnb_nested_worker.py REQUEST.npz ANSWER.npz`.

The request holds weights by name. The answer has the tensors of a checkpoint for each, and the
values. The codes of absmax are those of the default backend: its functions are recorded while the
module is loaded once more, since the CPU's kernel stands before them.
"""

import importlib
import sys

import numpy as np
import torch
from bitsandbytes import _ops, functional


def default_kernels():
    """The functions of the default backend by operator."""
    found = {}
    _ops.register_kernel = lambda name, _: lambda function: found.setdefault(name, function)
    importlib.reload(importlib.import_module("bitsandbytes.backends.default.ops"))
    return found


def main():
    quantize = default_kernels()["bitsandbytes::quantize_blockwise"]

    def blockwise(a, blocksize, **_):
        table = functional.create_dynamic_map()
        codes, absmax = quantize(a, table, blocksize)
        return codes, functional.QuantState(
            absmax=absmax, code=table, blocksize=blocksize, dtype=a.dtype
        )

    functional.quantize_blockwise = blockwise
    request, answer = np.load(sys.argv[1]), {}
    for name in request.files:
        x = torch.from_numpy(request[name])
        for kind in ("nf4", "fp4"):
            for nested in (False, True):
                packed, state = functional.quantize_4bit(
                    x, blocksize=64, quant_type=kind, compress_statistics=nested
                )
                label = f"{name} {kind} {nested}"
                answer[f"{label}|"] = packed.numpy()
                for key, tensor in state.as_dict(packed=True).items():
                    answer[f"{label}|{key}"] = tensor.numpy()
                # The CPU's kernel decodes blocks of rows, though they were cut across rows.
                state.shape = torch.Size([1, x.numel()])
                values = functional.dequantize_4bit(packed, state).reshape(x.shape)
                answer[f"{label}|values"] = values.numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
