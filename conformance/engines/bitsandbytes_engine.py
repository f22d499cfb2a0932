"""bitsandbytes on the CPU: its 4-bit and 8-bit blockwise formats."""

from importlib.metadata import version

import torch
from bitsandbytes import functional
from protocol import Table, both, f32, serve, stored


def state(planes, kind, shape):
    absmax = torch.from_numpy(f32(planes["absmax"]).reshape(-1).copy())
    more = {"code": functional.create_dynamic_map()} if kind == "dynamic8" else {"quant_type": kind}
    return functional.QuantState(
        absmax=absmax, blocksize=64, dtype=torch.float32, shape=shape, **more
    )


def main() -> None:
    table: Table = {}
    for kind in ("nf4", "fp4"):

        def decode(planes, shape, kind=kind):
            codes = torch.from_numpy(planes["codes"]).reshape(-1, 1)
            return functional.dequantize_4bit(codes, state(planes, kind, shape)).numpy()

        def encode(x, _, kind=kind):
            codes, made = functional.quantize_4bit(
                torch.from_numpy(x), blocksize=64, quant_type=kind
            )
            return {"codes": codes.numpy(), "absmax": stored(made.absmax.numpy())}

        both(table, f"bnb/{kind}[block=64]", decode, encode)

    def decode8(planes, shape):
        codes = torch.from_numpy(planes["codes"]).reshape(shape)
        return functional.dequantize_blockwise(codes, state(planes, "dynamic8", shape)).numpy()

    def encode8(x, _):
        codes, made = functional.quantize_blockwise(torch.from_numpy(x), blocksize=64)
        return {"codes": codes.numpy(), "absmax": stored(made.absmax.numpy())}

    both(table, "bnb/dynamic8[block=64]", decode8, encode8)
    serve("bitsandbytes", version("bitsandbytes"), "C++", table)


if __name__ == "__main__":
    main()
