"""Runs compressed-tensors on weights: `ct_worker.py REQUEST.npz ANSWER.npz`, in its environment.

The request holds `settings` (bits, kind, symmetric, strategy, group, dtype as text) and weights
`x`, or the planes `weight`, `weight_packed`, `weight_scale` and so on; or `awq_qweight`,
`awq_qzeros`, `awq_scales` of an AutoAWQ file. The answer holds the planes and `values`.
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


def arguments(bits, kind, symmetric, strategy, group):
    return QuantizationArgs(
        num_bits=int(bits),
        type="float" if kind == "float" else "int",
        symmetric=symmetric == "sym",
        strategy=strategy,
        group_size=int(group) if strategy == "group" else None,
    )


def chosen(x, args):
    """The state that is compressed: weights with their scales and zero points."""
    group, strategy = args.group_size, str(getattr(args.strategy, "value", args.strategy))
    parts = {
        "group": x.unflatten(-1, (-1, group)) if group else x,
        "channel": x,
        "tensor": x.reshape(1, -1),
    }[strategy]
    keep = strategy != "group"
    low, high = parts.amin(-1, keepdim=keep), parts.amax(-1, keepdim=keep)
    if strategy == "tensor":
        low, high = low.reshape(()), high.reshape(())
    scale, zero = calculate_qparams(low, high, args)
    return {"weight": x, "weight_scale": scale, "weight_zero_point": zero}


def stored(asked, dtype):
    """Planes of a request as tensors of the types that a checkpoint has."""
    state = {
        name: torch.from_numpy(asked[name]) for name in asked.files if name.startswith("weight")
    }
    if dtype == "bf16":
        state["weight_scale"] = state["weight_scale"].view(torch.bfloat16)
    if "weight" in state and state["weight"].dtype == torch.uint8:
        state["weight"] = state["weight"].view(torch.float8_e4m3fn)
    if "weight_shape" in state:
        state["weight_shape"] = torch.Size(state["weight_shape"].tolist())
    return state


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
    if "awq_qweight" in asked:
        np.savez(sys.argv[2], values=awq(asked))
        return
    *settings, dtype = map(str, asked["settings"])
    args = arguments(*settings)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    pack = settings[1] == "pack"
    compressor = PackedQuantizationCompressor if pack else NaiveQuantizationCompressor
    if "x" in asked:
        state = chosen(torch.from_numpy(asked["x"]).to(DTYPES[dtype]), args)
        state = compressor.compress(state, scheme)
        answer = {key: plain(tensor) for key, tensor in state.items()}
    else:
        state, answer = stored(asked, dtype), {}
    values = compressor.decompress(state, scheme)["weight"].float().numpy()
    np.savez(sys.argv[2], **answer, values=values)


if __name__ == "__main__":
    main()
