"""Runs AI Edge Quantizer on weights: `aeq_worker.py REQUEST.npz ANSWER.npz`, in its environment.

The request holds tensors `x`, f32[tensors, rows, columns], and `settings`, a list in JSON of
{bits, symmetric, granularity (CHANNELWISE, TENSORWISE or BLOCKWISE_n), algorithm (minmax, octav,
mse or hadamard), limit}. For setting number i the answer holds `i.codes`, `i.scale`,
`i.zero_point`, `i.values` and `i.packed`, each with an axis for the tensors; for hadamard the
rotated weights `i.rotated`; for octav the clips after 1 to 10 iterations, `i.clips`. Where a
request has no `x` it holds `i.codes`, `i.scale` and `i.zero_point` of one tensor each, and the
answer `i.values`.
"""

import json
import sys

import numpy as np
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithms.uniform_quantize import (
    hadamard_rotation,
    mse,
    naive_min_max_quantize,
    octav,
)
from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform
from ai_edge_quantizer.transformations import transformation_utils

ALGORITHMS = {
    "minmax": naive_min_max_quantize,
    "octav": octav,
    "mse": mse,
    "hadamard": hadamard_rotation,
}


def quantized(x, setting):
    limit = {"max_hadamard_size": setting["limit"]} if setting.get("limit") else {}
    tensor = qtyping.TensorQuantizationConfig(
        num_bits=setting["bits"],
        symmetric=setting["symmetric"],
        granularity=qtyping.QuantGranularity[setting["granularity"]],
        algorithm_params=limit,
    )
    op = qtyping.OpInfo(
        op=None,
        op_name=qtyping.TFLOperationName.FULLY_CONNECTED,
        subgraph_op_index=0,
        op_quant_config=qtyping.OpQuantizationConfig(weight_tensor_config=tensor),
    )
    found = ALGORITHMS[setting["algorithm"]].get_tensor_quant_params(op, tensor, x)
    codes = found.quantized_data
    answer = {
        "codes": codes,
        "scale": found.scale,
        "zero_point": found.zero_point,
        "values": uniform.uniform_dequantize(codes.astype(np.int32), found),
        "packed": transformation_utils.pack_data(setting["bits"], codes.view(np.uint8)),
    }
    if setting["algorithm"] == "hadamard":
        answer["rotated"], _, _ = hadamard_rotation._rotate_with_diagonal_hadamard(
            x, axis=1, max_size=setting.get("limit")
        )
    if setting["algorithm"] == "octav":
        answer["clips"] = np.stack([clips(x, setting, count) for count in range(1, 11)])
    return answer


def clips(x, setting, count):
    """What OCTAV has found after `count` iterations, one clip for each group."""
    kind, _, block = setting["granularity"].partition("_")
    grouped = x.reshape(len(x), -1, int(block)) if block else x
    axis = None if kind == "TENSORWISE" else grouped.ndim - 1
    return octav._guess_clipping_with_octav(grouped, setting["bits"], axis, count, 3.0).reshape(-1)


def values(asked, number, setting):
    """What the package reads from given codes and parameters."""
    codes, scale, zero = (asked[f"{number}.{part}"] for part in ("codes", "scale", "zero_point"))
    kind, _, block = setting["granularity"].partition("_")
    found = qtyping.UniformQuantParams(
        num_bits=setting["bits"],
        quantized_dimension={"CHANNELWISE": 0, "TENSORWISE": None, "BLOCKWISE": 1}[kind],
        scale=scale,
        zero_point=zero,
        symmetric=setting["symmetric"],
        block_size=int(block or 0),
    )
    return uniform.uniform_dequantize(codes.astype(np.int32), found)


def main():
    asked, answers = np.load(sys.argv[1]), {}
    for number, setting in enumerate(json.loads(str(asked["settings"]))):
        if "x" not in asked:
            with np.errstate(all="ignore"):
                answers[f"{number}.values"] = values(asked, number, setting)
            continue
        with np.errstate(all="ignore"):
            parts = [quantized(x, setting) for x in asked["x"]]
        for key in parts[0]:
            answers[f"{number}.{key}"] = np.stack([part[key] for part in parts])
    np.savez(sys.argv[2], **answers)


if __name__ == "__main__":
    main()
