"""Runs compressed-tensors on weights: `ct_worker.py REQUEST.npz ANSWER.npz`, in its environment.

The request holds `x`, `names` and for each name its settings in a row of `settings` (bits, kind,
symmetric, strategy, group, dtype as text); also `awq_qweight`, `awq_qzeros`, `awq_scales` of an
AutoAWQ file. The answer holds the planes of each name and its values, and those of the AWQ file.
"""

import sys

import numpy as np
import torch
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils.helpers import calculate_qparams

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def plain(tensor):
    """A tensor as NumPy holds it: bfloat16 as its bits, E4M3 as bytes."""
    views = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8}
    return tensor.view(views.get(tensor.dtype, tensor.dtype)).contiguous().numpy()


def run(x, bits, kind, symmetric, strategy, group, dtype):
    args = QuantizationArgs(
        num_bits=int(bits),
        type="float" if kind == "float" else "int",
        symmetric=symmetric == "sym",
        strategy=strategy,
        group_size=int(group) if strategy == "group" else None,
    )
    x = x.to(DTYPES[dtype])
    rows = {"group": x.unflatten(-1, (-1, int(group))), "channel": x, "tensor": x.reshape(1, -1)}
    parts = rows[strategy]
    keep = strategy != "group"
    low, high = parts.amin(-1, keepdim=keep), parts.amax(-1, keepdim=keep)
    if strategy == "tensor":
        low, high = low.reshape(()), high.reshape(())
    scale, zero = calculate_qparams(low, high, args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = PackedQuantizationCompressor if kind == "pack" else NaiveQuantizationCompressor
    state = {"weight": x, "weight_scale": scale, "weight_zero_point": zero}
    packed = compressor.compress(state, scheme)
    values = compressor.decompress(packed, scheme)["weight"]
    return packed, values


def awq(asked):
    tensors = {
        f"layer.{name}": torch.from_numpy(asked[f"awq_{name}"])
        for name in ("qweight", "qzeros", "scales")
    }
    group = tensors["layer.qweight"].shape[0] // tensors["layer.scales"].shape[0]
    converter = AutoAWQConverter(group_size=group)
    found = converter.process(tensors)
    scheme = next(iter(converter.update_config(None).config_groups.values()))
    state = {name.removeprefix("layer."): tensor for name, tensor in found.items()}
    state["weight_scale"] = state["weight_scale"].float()
    return PackedQuantizationCompressor.decompress(state, scheme)["weight"].numpy()


def main():
    asked = np.load(sys.argv[1])
    x = torch.from_numpy(asked["x"])
    answer = {"awq": awq(asked)}
    for name, settings in zip(asked["names"], asked["settings"], strict=True):
        packed, values = run(x, *map(str, settings))
        for key, tensor in packed.items():
            answer[f"{name}.{key}"] = plain(tensor)
        answer[f"{name}.values"] = values.float().numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
