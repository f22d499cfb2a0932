"""The layout algebra: one declaration of a scheme's bytes, from which everything else derives."""

from refquant.layout.codes import field_codes, pack_codes
from refquant.layout.declare import (
    Digits,
    Element,
    Field,
    Minifloat,
    Plane,
    Signed,
    Slice,
    Unsigned,
    field,
    slice_at,
)
from refquant.layout.expression import Expression, show
from refquant.layout.layout import Layout
from refquant.layout.records import pack_field, unpack_field
from refquant.layout.values import evaluate, numbers

__all__ = [
    "Digits",
    "Element",
    "Expression",
    "Field",
    "Layout",
    "Minifloat",
    "Plane",
    "Signed",
    "Slice",
    "Unsigned",
    "evaluate",
    "field",
    "field_codes",
    "numbers",
    "pack_codes",
    "pack_field",
    "show",
    "slice_at",
    "unpack_field",
]
