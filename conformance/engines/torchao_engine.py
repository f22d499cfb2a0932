"""torchao: MX casts, affine weights of whole bytes."""

from importlib.metadata import version

import torch
from protocol import Table, both, f32, serve, stored
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
from torchao.quantization import quant_primitives as primitives

MAPPINGS = {
    "sym": primitives.MappingType.SYMMETRIC,
    "asym": primitives.MappingType.ASYMMETRIC,
}
MX = {
    "mxfp8_e4m3": torch.float8_e4m3fn,
    "mxfp8_e5m2": torch.float8_e5m2,
    "mxfp4": torch.float4_e2m1fn_x2,
}


def mx(dtype):
    def decode(planes, shape):
        codes = torch.from_numpy(planes["codes"])[..., 0]
        scale = torch.from_numpy(planes["scales"])[..., 0].view(torch.float8_e8m0fnu)
        data = codes if dtype == torch.float4_e2m1fn_x2 else codes.view(dtype)
        return to_dtype(data.contiguous(), scale, dtype, 32, torch.float32).numpy().reshape(shape)

    def encode(x, _):
        scale, data = to_mx(torch.from_numpy(x), dtype, 32, ScaleCalculationMode.FLOOR)
        return {
            "codes": data.view(torch.uint8).numpy(),
            "scales": scale.view(torch.uint8).numpy(),
        }

    return decode, encode


def affine(mapping, group):
    def decode(planes, shape):
        block = (1, group or shape[1])
        codes = torch.from_numpy(planes["codes"]).view(torch.int8).reshape(shape)
        scale = torch.from_numpy(f32(planes["scales"]).copy())
        zero = torch.zeros(scale.shape, dtype=torch.int8)
        if "zero_points" in planes:
            zero = torch.from_numpy(planes["zero_points"]).view(torch.int8).reshape(scale.shape)
        return primitives.dequantize_affine(
            codes, block, scale, zero, torch.int8, -128, 127
        ).numpy()

    def encode(x, _):
        weights, block = torch.from_numpy(x), (1, group or x.shape[1])
        scale, zero = primitives.choose_qparams_affine(
            weights, MAPPINGS[mapping], block, torch.int8, -128, 127,
            scale_dtype=torch.float32, zero_point_dtype=torch.int8,
        )  # fmt: skip
        codes = primitives.quantize_affine(weights, block, scale, zero, torch.int8, -128, 127)
        return {
            "codes": codes.view(torch.uint8).numpy(),
            "scales": stored(scale.numpy()),
            "zero_points": zero.view(torch.uint8).numpy(),
        }

    return decode, encode


def main() -> None:
    table: Table = {}
    for name, dtype in MX.items():
        both(table, f"mx/{name}[scale=floor]", *mx(dtype))
    both(table, "torchao/int8[sym,channel]", *affine("sym", 0))
    for mapping in MAPPINGS:
        both(table, f"torchao/int8[{mapping},group=32]", *affine(mapping, 32))
    serve("torchao", version("torchao"), "Python", table)


if __name__ == "__main__":
    main()
