"""Ranges of activations by their origins: `ranges_worker.py WHO REQUEST.npz ANSWER.npz`.

The request holds samples `x`, f32[samples, n]. For `onnx` it holds `settings` as well, rows of a
method and its numbers of bins, levels and percent, and the answer `low` and `high` for each; the
samples are collected one after another. For `aeq` the answer holds the moving average and the
extremes of all, `average` and `extremes`, each a low and a high.
"""

import sys

import numpy as np


def onnx(asked):
    from onnxruntime.quantization.calibrate import HistogramCollector

    low, high = [], []
    for setting in asked["settings"]:
        method, bins, levels, percent = str(setting).split()
        collector = HistogramCollector(method, False, int(bins), int(levels), float(percent), "")
        for sample in asked["x"]:
            collector.collect({"x": [sample]})
        found = collector.compute_collection_result()["x"]
        low.append(found[0])
        high.append(found[1])
    return {"low": np.array(low, np.float32), "high": np.array(high, np.float32)}


def aeq(asked):
    from ai_edge_quantizer.algorithms.uniform_quantize import common_quantize
    from ai_edge_quantizer.utils import qsv_utils

    answer = {}
    for name, update in (
        ("average", qsv_utils.moving_average_update),
        ("extremes", qsv_utils.min_max_update),
    ):
        merged = {}
        for sample in asked["x"]:
            found = common_quantize.get_activation_min_max(sample, -3e38, 3e38)
            merged = update(merged, {key: found[key] for key in ("min", "max")})
        answer[name] = np.array([merged["min"].item(), merged["max"].item()])
    return answer


def main():
    asked = dict(np.load(sys.argv[2]))
    np.savez(sys.argv[3], **{"onnx": onnx, "aeq": aeq}[sys.argv[1]](asked))


if __name__ == "__main__":
    main()
