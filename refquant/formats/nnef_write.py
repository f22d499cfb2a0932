"""NNEF directories as tract and torch-to-nnef use them: `graph.nnef`, one `.dat` file a matrix.

A `.dat` file is a header of 128 bytes and the elements. Q40 blocks have an item type of their own:
the current one, whose nibbles lie as in ggml (element j and j + 16 share a byte), and the older one
with neighbours in one byte, which tract rearranges when it reads. Integers of one scale are plain
items, and `graph.quant` holds their scales and zero points.
Source: torch_to_nnef 0.24.12 and tract 0.23.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from refquant.driver import Scheme
from refquant.errors import UnsupportedError
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor

__all__ = [
    "CURRENT",
    "LEGACY",
    "NnefItem",
    "dat_header",
    "graph_nnef",
    "item_name",
    "item_of",
    "label_of",
    "scale_line",
]

MAGIC: Final = b"\x4e\xef\x01\x00"
HEADER_BYTES: Final = 128
BLOCK_BITS: Final = 0xFFFFFFFF
MAX_AXES: Final = 8
VENDOR: Final = 0x5452
"""The letters RT, which torch-to-nnef and tract put before what is not the standard's."""

FLOAT_BITS: Final = 32
INTEGER_BITS: Final = 8

CURRENT: Final = 0x3040
LEGACY: Final = 0x2040


@dataclass(frozen=True, slots=True)
class NnefItem:
    """How a header calls the elements: bits of one, item type, vendor."""

    bits: int
    kind: int
    vendor: int = 0


ITEMS: Final[Mapping[str, NnefItem]] = {
    "float/f32": NnefItem(32, 0),
    "float/f16": NnefItem(16, 0),
    "ggml/q4_0": NnefItem(BLOCK_BITS, CURRENT, VENDOR),
    "t2n/q40_legacy": NnefItem(BLOCK_BITS, LEGACY, VENDOR),
    "t2n/quint8": NnefItem(8, 2),
    "t2n/qint8": NnefItem(8, 3),
}
"""Integers count as quantized ones: 2 without a sign, 3 with one."""


def item_name(scheme: Scheme) -> str:
    """The name, of those that NNEF has items for, of a scheme's layout; empty if it has none."""
    return "" if scheme.operators else _names().get(scheme.digest, "")


@cache
def _names() -> dict[str, str]:
    return {find_scheme(name).digest: name for name in ITEMS}


def item_of(scheme: Scheme) -> NnefItem:
    """The item of a scheme's first plane; UnsupportedError if NNEF has none."""
    name = item_name(scheme)
    if not name:
        raise UnsupportedError(f"NNEF has no item for {scheme.name}; it has {', '.join(ITEMS)}")
    return ITEMS[name]


def dat_header(tensor: QuantizedTensor) -> bytes:
    """The 128 bytes before a tensor's elements, which are its first plane."""
    item, shape = item_of(tensor.scheme), tensor.shape
    nbytes = next(iter(tensor.planes.values())).nbytes
    if len(shape) > MAX_AXES or max(*shape, nbytes) >= 1 << 32:
        raise UnsupportedError(f"NNEF's header cannot state {list(shape)}")
    header = bytearray(HEADER_BYTES)
    struct.pack_into("<4sII", header, 0, MAGIC, nbytes, len(shape))
    struct.pack_into(f"<{len(shape)}I", header, 12, *shape)
    struct.pack_into("<IHH", header, 44, item.bits, item.kind, item.vendor)
    return bytes(header)


def label_of(name: str) -> str:
    """The name of a tensor as a file may be called everywhere."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def graph_nnef(matrices: Mapping[str, tuple[tuple[int, ...], Scheme]]) -> str:
    """A graph that multiplies an input by every matrix, given by shape and scheme: y = x w^T.

    Matrices of one width share an input, `x` and the width. Variables are called `w_` and the
    matrix, outputs `y_` and the matrix, with `_` for whatever no identifier may hold.
    """
    widths = sorted({shape[-1] for shape, _ in matrices.values()})
    lines = [f"x{width} = external<scalar>(shape=[1,{width}]);" for width in widths]
    for name, (shape, scheme) in matrices.items():
        known, weight = _identifier(name), f"w_{_identifier(name)}"
        lines.append(
            f'{weight} = variable<scalar>(label="{label_of(name)}", shape=[{shape[0]},{shape[1]}]);'
        )
        if item_of(scheme).bits < FLOAT_BITS:
            lines.append(f'f_{known} = tract_core_cast({weight}, to="f32");')
            weight = f"f_{known}"
        product = f"matmul(x{shape[-1]}, {weight}, transposeA=false, transposeB=true)"
        lines.append(f"y_{known} = {product};")
    inputs = ", ".join(f"x{width}" for width in widths)
    outputs = ", ".join(f"y_{_identifier(name)}" for name in matrices)
    body = "".join(f"  {line}\n" for line in lines)
    head = "version 1.0;\nextension tract_registry tract_core;\n"
    return f"{head}graph linears({inputs}) -> ({outputs}) {{\n{body}}}\n"


def scale_line(name: str, tensor: QuantizedTensor) -> str:
    """A tensor's line in `graph.quant`, empty for one that needs none."""
    if item_of(tensor.scheme).bits != INTEGER_BITS:
        return ""
    scale = float(tensor.planes["scales"].reshape(-1).view("<f4")[0])
    signed = item_name(tensor.scheme) == "t2n/qint8"
    zero = 0 if signed else int(tensor.planes["zero_points"].reshape(-1)[0])
    return (
        f'"w_{_identifier(name)}": zero_point_linear_quantize(scale = {scale:.30f}, '
        f"zero_point = {zero}, bits = 8, signed = {str(signed).lower()}, symmetric = false);\n"
    )


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)
