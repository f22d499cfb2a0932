"""Runs torch-to-nnef and torch on weights: `t2n_worker.py REQUEST.npz ANSWER.npz`.

The request holds `kind`. For `q40` it holds weights `x`, and the answer blocks as bytes in both
packings with their values; or `codes` and `scale`, and the answer their values. For `quint8` and
`qint8` the answer holds codes and parameters of `x` cut into tensors of 4 rows, or the values of
`codes` under each of some `scale` and `zero`.
"""

import sys

import numpy as np
import torch
from torch.ao.quantization.observer import MinMaxObserver
from torch_to_nnef.tensor.quant import base, fp_to_tract_q4_0_with_min_max_calibration

ROWS = 4
TYPES = {
    "quint8": (torch.quint8, torch.per_tensor_affine),
    "qint8": (torch.qint8, torch.per_tensor_symmetric),
}


def q40(x):
    found = fp_to_tract_q4_0_with_min_max_calibration(x)
    scheme = found.qscheme
    plain = getattr(base.QScalePerGroupF16, "_dequantize_original", scheme._dequantize)
    values = plain(found.decompress_to_u8(), scheme.scale, 32, 4, torch.float32)
    current, legacy = (
        np.frombuffer(found._build_binary_dat_content(new), np.uint8) for new in (True, False)
    )
    return {"q40": current, "q40_legacy": legacy, "q40_values": values.numpy()}


def q40_values(codes, scale):
    """What the package reads from codes and scales of groups."""
    plain = getattr(base.QScalePerGroupF16, "_dequantize_original", base.QScalePerGroupF16)
    return plain(torch.from_numpy(codes), torch.from_numpy(scale), 32, 4, torch.float32).numpy()


def affine(x, dtype, mapping):
    observer = MinMaxObserver(dtype=dtype, qscheme=mapping)
    observer(x)
    scale, zero = observer.calculate_qparams()
    found = torch.quantize_per_tensor(x, float(scale), int(zero), dtype)
    return found.int_repr().numpy(), scale.numpy(), zero.numpy(), found.dequantize().numpy()


def affine_values(codes, scales, zeros):
    """Values of the same codes under each scale and zero point."""
    make = torch._make_per_tensor_quantized_tensor
    plain = torch.from_numpy(codes)
    return np.stack(
        [
            make(plain, float(scale), int(zero)).dequantize().numpy()
            for scale, zero in zip(scales, zeros, strict=True)
        ]
    )


def main():
    asked = dict(np.load(sys.argv[1]))
    kind = str(asked["kind"])
    if kind == "q40":
        if "x" in asked:
            answer = q40(torch.from_numpy(asked["x"]))
        else:
            answer = {"values": q40_values(asked["codes"], asked["scale"])}
    elif "x" in asked:
        parts = [affine(part, *TYPES[kind]) for part in torch.from_numpy(asked["x"]).split(ROWS)]
        names = ("codes", "scales", "zeros", "values")
        answer = {
            n: np.stack(found) for n, found in zip(names, zip(*parts, strict=True), strict=True)
        }
    else:
        given = (asked[part] for part in ("codes", "scale", "zero"))
        answer = {"values": affine_values(*given)}
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
