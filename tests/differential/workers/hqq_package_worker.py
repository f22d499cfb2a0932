"""Runs HQQ's quantizer, or torchao's: `hqq_package_worker.py WHO REQUEST.npz ANSWER.npz`.

The request holds `x` and names of cases: `bits group axis optimize rounds` for `hqq`,
`bits group rounds` for `torchao`. The answer has the packed codes, scales, zero points and values.
"""

import sys
from functools import partial

import numpy as np
import torch


def hqq(x, name, answer):
    from hqq.core import optimize
    from hqq.core.quantize import Quantizer

    bits, group, axis, optimized, rounds = map(int, name.split())
    options = {"lp_norm": 0.7, "beta": 1e1, "kappa": 1.01, "iters": rounds}
    Quantizer.optimize_weights = partial(
        optimize.optimize_weights_proximal_legacy, opt_params=options
    )
    packed, meta = Quantizer.quantize(
        x, nbits=bits, group_size=group, axis=axis, optimize=bool(optimized), device="cpu"
    )
    meta["compute_dtype"] = torch.float32
    answer[f"{name}|codes"] = packed.numpy().view(np.uint8)
    answer[f"{name}|scales"], answer[f"{name}|zeros"] = meta["scale"].numpy(), meta["zero"].numpy()
    answer[f"{name}|values"] = Quantizer.dequantize(packed, meta).numpy()


def torchao(x, name, answer):
    from torchao.quantization import quant_primitives

    bits, group, rounds = map(int, name.split())
    options = {"lp_norm": 0.7, "beta": 1e1, "kappa": 1.01, "iters": rounds, "early_stop": True}
    kept = {}

    def solver(**arguments):
        found = quant_primitives.optimize_weights_proximal_legacy(opt_params=options, **arguments)
        kept["zero"] = found[2]
        return found

    codes, scale, offset, _ = quant_primitives._choose_qparams_and_quantize_affine_hqq(
        x, nbits=bits, group_size=group, device="cpu", optimize_weights=solver
    )
    answer[f"{name}|codes"], answer[f"{name}|zeros"] = codes.numpy(), kept["zero"].numpy()
    answer[f"{name}|scales"], answer[f"{name}|offsets"] = scale.numpy(), offset.numpy()
    middle = 1 << (bits - 1)
    wide = scale.float().reshape(-1, 1), offset.float().reshape(-1, 1)
    values = (codes.float().reshape(-1, group) - middle) * wide[0] + wide[1]
    answer[f"{name}|values"] = values.reshape(x.shape).numpy()


def main():
    request, answer = np.load(sys.argv[2]), {}
    run = {"hqq": hqq, "torchao": torchao}[sys.argv[1]]
    for name in request["names"]:
        run(torch.from_numpy(request["x"]), str(name), answer)
    np.savez(sys.argv[3], **answer)


if __name__ == "__main__":
    main()
