"""torch on the CPU: casts to short floats, integer products."""

import torch
from protocol import Table, both, serve

WHOLE = {
    "float/f16": torch.float16,
    "float/bf16": torch.bfloat16,
    "float/f8_e4m3fn[overflow=saturate]": torch.float8_e4m3fn,
    "float/f8_e5m2[overflow=saturate]": torch.float8_e5m2,
    "float/f8_e4m3fnuz[overflow=saturate]": torch.float8_e4m3fnuz,
    "float/f8_e5m2fnuz[overflow=saturate]": torch.float8_e5m2fnuz,
    "float/f8_e8m0[rounding=nearest]": torch.float8_e8m0fnu,
}


def product(_, arrays):
    a, b = (torch.from_numpy(arrays[name]).to(torch.int32) for name in "ab")
    return {"accumulators": (a @ b.T).numpy()}


def main() -> None:
    table: Table = {("integer_matmul", kinds): product for kinds in ("s8s8", "u8s8", "u8u8")}
    for name, dtype in WHOLE.items():

        def decode(planes, shape, dtype=dtype):
            return torch.from_numpy(planes["values"]).view(dtype).float().reshape(shape).numpy()

        def encode(x, _, dtype=dtype):
            return {"values": torch.from_numpy(x).to(dtype).view(torch.uint8).numpy()}

        # torch overflows to NaN or infinity, and takes magnitudes to E8M0: those encoders are
        # other settings of the schemes.
        both(table, name, decode, None if "[" in name else encode)
    serve("torch", torch.__version__, "C++", table)


if __name__ == "__main__":
    main()
