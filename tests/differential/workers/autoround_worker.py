"""Runs AutoRound's linear layers: `autoround_worker.py REQUEST.npz ANSWER.npz`, on the CPU.

The request holds `bits`, `group`, the tensors `qweight`, `qzeros`, `scales` and `g_idx` of a layer
to decode, and perhaps `weights` with true zero points `zeros` and `steps` (their scales) to pack.
The layers are those that store zero points as they are.
"""

import sys

import numpy as np
import torch
from auto_round_extension.torch.qlinear_torch import QuantLinear


def layer(asked, outputs, inputs):
    bits, group = int(asked["bits"]), int(asked["group"])
    made = QuantLinear(bits, group, inputs, outputs, bias=False, g_idx="g_idx" in asked)
    made.device = torch.device("cpu")
    return made


def decoded(asked):
    inputs, outputs = asked["qweight"].shape[0] * 32 // int(asked["bits"]), asked["scales"].shape[1]
    made = layer(asked, outputs, inputs)
    for name in ("qweight", "qzeros", "g_idx"):
        if name in asked:
            setattr(made, name, torch.from_numpy(asked[name].view(np.int32)))
    made.scales = torch.from_numpy(asked["scales"].astype(np.float32))
    return made(torch.eye(inputs)).T.contiguous().numpy()


def packed(asked):
    outputs, inputs = asked["weights"].shape
    made, linear = layer(asked, outputs, inputs), torch.nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = torch.from_numpy(asked["weights"])
    scales = torch.from_numpy(asked["steps"].astype(np.float32).T.copy())
    zeros = torch.from_numpy(asked["zeros"].astype(np.float32).T.copy())
    made.pack(linear, scales, zeros, device="cpu")
    return {"qweight": made.qweight.numpy(), "qzeros": made.qzeros.numpy()}


def main():
    asked = dict(np.load(sys.argv[1]))
    answer = {"values": decoded(asked)} if "qweight" in asked else packed(asked)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
