"""Runs AutoAWQ: `awq_worker.py REQUEST.npz ANSWER.npz`, in its environment, on the CPU.

The request holds `group` and either words `qweight`, `qzeros` with `scales` to decode, or weights
`x`. These take the way of `AwqQuantizer._apply_quant` through the package's own functions, but in
binary32: its half precision is for the kernels. Where `scales` and `zeros` come with `x`, they are
packed with them in place of what the package would choose.
"""

import sys

import numpy as np
import torch
from awq.modules.linear.gemm import WQLinear_GEMM
from awq.quantize.quantizer import AwqQuantizer
from awq.utils.packing_utils import dequantize_gemm

BITS = 4


def chosen(x, group):
    """Weights as their codes stand for, scales and zero points of each group."""
    quantizer = AwqQuantizer.__new__(AwqQuantizer)
    quantizer.group_size, quantizer.w_bit, quantizer.zero_point = group, BITS, True
    return quantizer.pseudo_quantize_tensor(x)


def packed(x, scales, zeros, group):
    """The tensors of a checkpoint."""
    linear = torch.nn.Linear(x.shape[1], x.shape[0], bias=False)
    linear.weight.data = x
    turned = [part.t().contiguous() for part in (scales, zeros)]
    layer = WQLinear_GEMM.from_linear(linear, BITS, group, scales=turned[0], zeros=turned[1])
    return {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": layer.scales}


def main():
    asked = dict(np.load(sys.argv[1]))
    group = int(asked.pop("group"))
    given = {name: torch.from_numpy(array) for name, array in asked.items()}
    if "qweight" in given:
        words = (given["qweight"], given["qzeros"], given["scales"].float())
        answer = {"values": dequantize_gemm(*words, BITS, group).T.contiguous()}
    elif "scales" in given:
        answer = packed(given["x"], given["scales"], given["zeros"], group)
    else:
        answer = packed(*chosen(given["x"], group), group)
    np.savez(sys.argv[2], **{name: part.numpy() for name, part in answer.items()})


if __name__ == "__main__":
    main()
