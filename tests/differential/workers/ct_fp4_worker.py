"""Runs compressed-tensors' FP4 compressors: `ct_fp4_worker.py REQUEST.npz ANSWER.npz`.

The request holds `name` (nvfp4 or mxfp4), `dtype` and either weights `x`, each row group of
`tensors` rows with a number of its own, or planes to decode. Values are answered in binary32, and
as the package's decompressor gives them, in bfloat16.
"""

import sys

import numpy as np
import torch
from compressed_tensors.compressors.mx_utils import decompress_mx_scale
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.quant_scheme import MXFP4, NVFP4
from compressed_tensors.quantization.utils.helpers import calculate_qparams, generate_gparam

KINDS = {"nvfp4": (NVFP4PackedCompressor, NVFP4), "mxfp4": (MXFP4PackedCompressor, MXFP4)}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def encoded(x, name):
    """The planes of one tensor."""
    compressor, preset = KINDS[name]
    args = preset["weights"]
    parts = x.unflatten(-1, (-1, args.group_size))
    state = {"weight": x}
    if name == "nvfp4":
        state["weight_global_scale"] = generate_gparam(x.min(), x.max())
    low, high = parts.amin(-1), parts.amax(-1)
    scale, _ = calculate_qparams(low, high, args, state.get("weight_global_scale"))
    state["weight_scale"] = scale
    return compressor.compress(state, scheme_of(name))


def scheme_of(name):
    return QuantizationScheme(targets=["Linear"], weights=KINDS[name][1]["weights"])


def decoded(planes, name):
    """Values by the package's functions in binary32, and by its decompressor."""
    compressor, preset = KINDS[name]
    packed, scale = planes["weight_packed"], planes["weight_scale"]
    rows, half = packed.shape
    elements = unpack_fp4_from_uint8(packed, rows, 2 * half, torch.float32)
    known = decompress_mx_scale(scale).float() if name == "mxfp4" else scale.float()
    divisor = planes.get("weight_global_scale")
    values = dequantize(elements, known, None, preset["weights"], torch.float32, divisor)
    short = compressor.decompress(planes, scheme_of(name))["weight"]
    return values.numpy(), short.float().numpy()


def main():
    asked = np.load(sys.argv[1])
    name = str(asked["name"])
    if "x" in asked:
        x = torch.from_numpy(asked["x"]).to(DTYPES[str(asked["dtype"])])
        whole = [x] if name == "mxfp4" else x.split(int(asked["tensors"]))
        found = [encoded(part, name) for part in whole]
    else:
        planes = {key: torch.from_numpy(asked[key]) for key in asked.files if key != "name"}
        if name == "nvfp4":
            planes["weight_scale"] = planes["weight_scale"].view(torch.float8_e4m3fn)
        found = [planes]
    answer = {}
    values = [decoded(planes, name) for planes in found]
    answer["values"], answer["short"] = map(np.concatenate, zip(*values, strict=True))
    for key in found[0]:
        parts = [planes[key] for planes in found]
        one = parts[0].dtype == torch.float8_e4m3fn
        answer[key] = np.concatenate([(p.view(torch.uint8) if one else p).numpy() for p in parts])
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
