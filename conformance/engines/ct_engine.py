"""compressed-tensors: its decompressors of FP4, of packed codes and of whole bytes."""

from importlib.metadata import version

import torch
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from protocol import Table, both, f32, serve


def settings(bits, kind, group):
    args = QuantizationArgs(
        num_bits=bits, type=kind, symmetric=True,
        strategy="group" if group else "channel", group_size=group or None,
    )  # fmt: skip
    return QuantizationScheme(targets=["Linear"], weights=args)


def packed(bits, group):
    scheme = settings(bits, "int", group)

    def decode(planes, shape):
        words = torch.from_numpy(planes["packed"]).reshape(shape[0], -1).view(torch.int32)
        scale = torch.from_numpy(f32(planes["scales"]).copy())
        state = {"weight_packed": words, "weight_scale": scale, "weight_shape": torch.Size(shape)}
        return PackedQuantizationCompressor.decompress(state, scheme)["weight"].numpy()

    return decode


def naive(kind, dtype):
    scheme = settings(8, kind, 0)

    def decode(planes, shape):
        codes = torch.from_numpy(planes["codes"]).reshape(shape).view(dtype)
        scale = torch.from_numpy(f32(planes["scales"]).reshape(-1, 1).copy())
        state = {"weight": codes, "weight_scale": scale}
        return NaiveQuantizationCompressor.decompress(state, scheme)["weight"].numpy()

    return decode


def main() -> None:
    table: Table = {}
    for bits in range(2, 9):
        both(table, f"ct/pack{bits}[sym,group=128]", packed(bits, 128))
    both(table, "ct/int8[sym,channel]", naive("int", torch.int8))
    both(table, "ct/fp8[channel]", naive("float", torch.float8_e4m3fn))
    serve("compressed-tensors", version("compressed-tensors"), "Python", table)


if __name__ == "__main__":
    main()
