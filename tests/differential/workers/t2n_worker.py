"""Runs torch-to-nnef and torch on weights: `t2n_worker.py REQUEST.npz ANSWER.npz`.

The request holds `x`; the answer Q40 blocks as bytes in both packings with their values, and for
`x` cut into tensors of 4 rows, the codes and parameters of torch's 8-bit affine types.
"""

import sys

import numpy as np
import torch
from torch.ao.quantization.observer import MinMaxObserver
from torch_to_nnef.tensor.quant import base, fp_to_tract_q4_0_with_min_max_calibration

ROWS = 4


def q40(x):
    found = fp_to_tract_q4_0_with_min_max_calibration(x)
    scheme = found.qscheme
    plain = getattr(base.QScalePerGroupF16, "_dequantize_original", scheme._dequantize)
    values = plain(found.decompress_to_u8(), scheme.scale, 32, 4, torch.float32)
    current, legacy = (
        np.frombuffer(found._build_binary_dat_content(new), np.uint8) for new in (True, False)
    )
    return {"q40": current, "q40_legacy": legacy, "q40_values": values.numpy()}


def affine(x, dtype, mapping):
    observer = MinMaxObserver(dtype=dtype, qscheme=mapping)
    observer(x)
    scale, zero = observer.calculate_qparams()
    found = torch.quantize_per_tensor(x, float(scale), int(zero), dtype)
    return found.int_repr().numpy(), scale.numpy(), zero.numpy(), found.dequantize().numpy()


def main():
    x = torch.from_numpy(np.load(sys.argv[1])["x"])
    answer = q40(x)
    kinds = {
        "quint8": (torch.quint8, torch.per_tensor_affine),
        "qint8": (torch.qint8, torch.per_tensor_symmetric),
    }
    for name, (dtype, mapping) in kinds.items():
        parts = [affine(part, dtype, mapping) for part in x.split(ROWS)]
        for key, found in zip(
            ("codes", "scales", "zeros", "values"), zip(*parts, strict=True), strict=True
        ):
            answer[f"{name}_{key}"] = np.stack(found)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
