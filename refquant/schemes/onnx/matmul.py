"""Weights of MatMulNBits: blocks along the inputs, unsigned codes low bits first, as `[out, in]`.

A zero point that is not stored is the middle code. Stored ones are packed like codes, row by row.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Plane, Unsigned, field
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob
from refquant.schemes.onnx import runtime_blocks
from refquant.schemes.onnx.rule import Rule

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

KNOBS = (
    Knob("symmetry", "0.0 is the middle code, or a zero point", ("sym", "asym"), "sym", bare=True),
    Knob("block", "inputs of a block", ("16", "32", "64", "128", "256"), "32"),
    Knob(
        "quantizer",
        "who chooses scales and codes: QuantizeLinear's rule, or ONNX Runtime's own",
        ("linear", "runtime"),
        "linear",
    ),
)


def _scheme(bits: int, knobs: Mapping[str, str | int]) -> Scheme:
    block, symmetric = int(knobs["block"]), knobs["symmetry"] == "sym"
    runtime = knobs["quantizer"] == "runtime"
    count = 8 // bits
    planes = {"b": Plane((block,), block * bits // 8), "scales": Plane((block,), 4)}
    fields = {
        "q": field("b", Unsigned(bits), f"{block}:{bits}+0"),
        "s": field("scales", FLOAT32, "0", over=block),
    }
    centre: Expression = float(1 << (bits - 1))
    if not symmetric:
        planes["zero_points"] = Plane((block * count,), 1)
        place = f"{count}:{bits}+0" if count > 1 else "0"
        fields["z"] = field("zero_points", Unsigned(bits), place, over=block)
        centre = "z"

    def encode(x: F32) -> Codes:  # f32[g, n] -> s f32[g, 1], z u8[g, 1]?, q u8[g, n]
        if runtime:
            found = runtime_blocks.encode(x, bits, symmetric=symmetric)
        else:
            found = Rule(bits, signed=False, symmetric=symmetric).encode(x)
        return {name: found[name] for name in fields}

    chosen = ",quantizer=runtime" if runtime else ""
    return Scheme(
        f"onnx/matmul{bits}bits[{knobs['symmetry']},block={block}{chosen}]",
        f"weights of MatMulNBits, {bits} bits, {knobs['symmetry']}metric",
        Layout(planes, fields, ("mul", ("sub", "q", centre), "s")),
        encode,
        (block,),
        parameters=dict(knobs),
    )


FAMILIES = tuple(
    Family(
        f"onnx/matmul{bits}bits",
        f"weights of ONNX Runtime's MatMulNBits, {bits} bits",
        KNOBS,
        partial(_scheme, bits),
    )
    for bits in (2, 4, 8)
)
