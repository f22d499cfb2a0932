"""bitsandbytes' NF4, FP4 and dynamic 8-bit codes: `real = table[code] * absmax`.

Blocks run along a row, or over the flattened tensor; `absmax` is the block's largest magnitude.
Weights times 1/absmax are compared with the middles between neighbouring table entries, and a
weight on a middle takes the lower entry. Of two 4-bit codes in a byte the first is in the high
bits. The entries of NF4 are quantiles of the normal distribution, found by its authors once and
copied since. The code table of FP4 is not sorted and holds 0.0 twice: 0.0 itself is code 0, what
lies between 0.0 and the first middle above it is code 8.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Plane, Unsigned, field
from refquant.schemes.bnb.dynamic import DYNAMIC, LEAST, nearest_entries
from refquant.schemes.bnb.nested import (
    NESTED_SCALE,
    NESTED_TABLE,
    mean_of,
    nested_codes,
    nested_fields,
)
from refquant.schemes.floats import FLOAT32
from refquant.schemes.level2 import Flattened
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES", "TABLES", "flat_scheme"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)
"""The 4-bit NormalFloat of Dettmers et al., QLoRA (2023), appendix E."""

TWELFTHS = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3], np.float32) / np.float32(12)
FP4 = np.concatenate([TWELFTHS, -TWELFTHS]) + np.float32(0)
"""Numbers of bitsandbytes' own 4-bit float over the largest, which is 12; both zeros are 0.0."""


TABLES: Mapping[str, F32] = {"nf4": NF4, "fp4": FP4, "dynamic8": DYNAMIC}
TITLES = {
    "nf4": "NF4: quantiles of the normal distribution times the block's largest magnitude",
    "fp4": "FP4 of bitsandbytes times the block's largest magnitude",
    "dynamic8": "8-bit dynamic tree codes times the block's largest magnitude",
}
KNOBS = (
    Knob(
        "block",
        "weights of a block along the axis",
        ("32", "64", "128", "256", "512", "1024", "2048", "4096"),
        "64",
    ),
    Knob(
        "blocks",
        "cut from each row, or from the flattened tensor, as checkpoints have them",
        ("rows", "flat"),
        "rows",
    ),
)
ABSMAX = Knob(
    "absmax",
    "binary32, or double quantization: 8-bit codes in runs of 256 blocks of the flattened tensor",
    ("f32", "nested"),
    "f32",
)


def encode(x: F32, table: F32) -> Codes:  # f32[b, n] -> s u32[b, 1], q u8[b, n]
    """The absmax of each block, and codes of the nearest entries."""
    absmax = np.maximum.reduce(np.abs(x), axis=1)
    reciprocal = np.float32(1) / np.maximum(absmax, LEAST)
    codes = nearest_entries(x * reciprocal[:, None], table)
    return {"s": absmax.view(np.uint32)[:, None], "q": codes}


def encode_nested(x: F32, table: F32, block: int) -> Codes:  # f32[1, n] -> code[1, n / over]
    """As `encode` for the blocks of a flat tensor, and then codes of every absmax."""
    codes = encode(x.reshape(-1, block), table)
    absmax = codes["s"].view(np.float32).reshape(-1)
    offset = mean_of(absmax)
    found = {**nested_codes(absmax, offset), "o": offset.reshape(1).view(np.uint32)}
    return {"q": codes["q"].reshape(1, -1), **{n: c.reshape(1, -1) for n, c in found.items()}}


def _layout(name: str, block: int, *, nested: bool) -> Layout:
    if name == "dynamic8":
        codes, place = Plane((1,), 1), field("codes", Unsigned(8), "0")
    else:
        codes, place = Plane((2,), 1), field("codes", Unsigned(4), "4", "0")
    planes = {"absmax": Plane((block,), 4)}
    fields = {"s": field("absmax", FLOAT32, "0", over=block)}
    scale: Expression = "s"
    tables = {"table": TABLES[name]}
    if nested:
        planes, fields = nested_fields(block)
        scale, tables[NESTED_TABLE] = NESTED_SCALE, DYNAMIC
    value: Expression = ("mul", ("lut", "table", "q"), scale)
    return Layout({"codes": codes, **planes}, {"q": place, **fields}, value, tables)


def _build(name: str, knobs: Mapping[str, str | int]) -> Scheme:
    block, nested = int(knobs["block"]), knobs.get("absmax") == "nested"
    flat = nested or knobs["blocks"] == "flat"
    shown = [f"block={block}", *(["absmax=nested"] if nested else [])]
    shown += ["blocks=flat"] if flat and not nested else []
    found = Scheme(
        f"bnb/{name}[{','.join(shown)}]",
        TITLES[name] + (", itself quantized to 8 bits" if nested else ""),
        _layout(name, block, nested=nested),
        partial(encode, table=TABLES[name]),
        (block,),
        parameters={**knobs, "blocks": "flat" if flat else "rows"},
        operators=(Flattened(block),) if flat else (),
    )
    if not nested:
        return found
    whole = partial(encode_nested, table=TABLES[name], block=block)
    return replace(found, encode=whole, group=(0,), ragged=True, whole=True)


def flat_scheme(name: str, block: int, *, nested: bool) -> Scheme:
    """The member whose blocks are those of the flattened tensor."""
    absmax = "nested" if nested else "f32"
    return _family(name).scheme(f"block={block},blocks=flat,absmax={absmax}")


def _family(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == f"bnb/{name}")


FAMILIES = tuple(
    Family(
        f"bnb/{name}",
        TITLES[name],
        KNOBS if name == "dynamic8" else (*KNOBS, ABSMAX),
        partial(_build, name),
    )
    for name in TABLES
)
