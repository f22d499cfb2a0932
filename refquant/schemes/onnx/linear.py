"""Tensors of QuantizeLinear: 4, 8 or 16-bit integers per tensor, per channel or in blocks.

Two codes of 4 bits share a byte, the first in the low nibble. ONNX packs whole tensors: its bytes
are these where the last axis (for zero points, the number of groups, or of channels) is even.
`onnx/dynamic_uint8` is what DynamicQuantizeLinear makes of an activation tensor.
"""

from collections.abc import Mapping
from functools import partial

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Plane, Signed, Unsigned, field
from refquant.schemes.affine import WHOLE_TENSOR
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob
from refquant.schemes.onnx.rule import Rule

__all__ = ["FAMILIES", "SCHEMES"]

TYPES = {"int4": (4, True), "uint4": (4, False), "int8": (8, True), "uint8": (8, False)} | {
    "int16": (16, True)
}

KNOBS = (
    Knob("symmetry", "0.0 is the middle code, or a zero point", ("sym", "asym"), "sym", bare=True),
    Knob(
        "granularity",
        "weights that share one scale",
        ("channel", "tensor", "block"),
        "channel",
        bare=True,
    ),
    Knob("block", "weights of a block along the axis", range(2, 65537), 32),
)


def _layout(kind: str, share: tuple[int, ...], *, zero: bool) -> Layout:
    bits, signed = TYPES[kind]
    element = Signed(bits) if signed else Unsigned(bits)
    size = bits // 8
    codes = Plane((2,), 1) if bits == 4 else Plane((1,), size)
    place = "2:4+0" if bits == 4 else "0"
    planes = {"codes": codes, "scales": Plane(share, 4)}
    fields = {"q": field("codes", element, place)}
    fields["s"] = field("scales", FLOAT32, "0", over=share)
    centred: Expression = "q"
    if zero:
        over, pair = share, share
        if share == (0,) and bits == 4:  # the zero points of two rows share a byte
            over, pair = (1, 0), (2, 0)
        elif bits == 4 and len(share) == 1:
            pair = (2 * share[0],)
        planes["zero_points"] = Plane(pair, max(size, 1))
        fields["z"] = field("zero_points", element, place if pair != over else "0", over=over)
        centred = ("sub", "q", "z")
    return Layout(planes, fields, ("mul", centred, "s"))


def _scheme(kind: str, knobs: Mapping[str, str | int]) -> Scheme:
    bits, signed = TYPES[kind]
    symmetric = knobs["symmetry"] == "sym"
    granularity, block = str(knobs["granularity"]), int(knobs["block"])
    share = {"channel": (0,), "tensor": WHOLE_TENSOR, "block": (block,)}[granularity]
    word = f"block={block}" if granularity == "block" else granularity
    return Scheme(
        f"onnx/{kind}[{knobs['symmetry']},{word}]",
        f"ONNX {kind} of QuantizeLinear, {knobs['symmetry']}metric, a scale per {granularity}",
        _layout(kind, share, zero=not (symmetric and signed)),
        Rule(bits, signed, symmetric).encode,
        share,
        ragged=granularity != "block",
        parameters=dict(knobs),
    )


FAMILIES = tuple(
    Family(f"onnx/{kind}", f"ONNX {kind} of QuantizeLinear", KNOBS, partial(_scheme, kind))
    for kind in TYPES
)

DYNAMIC = Scheme(
    "onnx/dynamic_uint8",
    "ONNX uint8 of DynamicQuantizeLinear; a tensor of zeros has scale 1",
    _layout("uint8", WHOLE_TENSOR, zero=True),
    Rule(8, signed=False, symmetric=False).encode,
    WHOLE_TENSOR,
    ragged=True,
)

SCHEMES = (DYNAMIC,)
