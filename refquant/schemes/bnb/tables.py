"""bitsandbytes' NF4, FP4 and dynamic 8-bit codes: `real = table[code] * absmax`.

Blocks run along a row; `absmax` is the block's largest magnitude. Weights times 1/absmax are
compared with the middles between neighbouring table entries, and a weight on a middle takes the
lower entry. Of two 4-bit codes in a byte the first is in the high bits. The entries of NF4 are
quantiles of the normal distribution, found by its authors once and copied since. The code table of
FP4 is not sorted and holds 0.0 twice: 0.0 itself is code 0, what lies between 0.0 and the first
middle above it is code 8.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES", "dynamic_map"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

LEAST = np.float32(1e-38)
"""A smaller absmax is replaced by it in the quotient, not where it is stored."""

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


def dynamic_map() -> F32:  # -> f32[256]
    """The signed dynamic table: 2**i fractions in the decade below `10**(i - 6)`, 0.0 and 1.0.

    A fraction is the middle between neighbours of a division of 0.1..1.0 that is computed inwards
    from both ends, each point rounded once, as `torch.linspace` does with fused operations.
    """
    first, last = np.float32(0.1), np.float32(1)
    positive = []
    for i in range(7):
        count = 1 << i
        step = np.float64((last - first) / np.float32(count))
        k = np.arange(count + 1)
        points = np.where(
            k < (count + 1) // 2,
            np.float64(first) + step * k,
            np.float64(last) - step * (count - k),
        ).astype(np.float32)
        middles = (points[:-1] + points[1:]) / np.float32(2)
        positive.append(np.float32(10.0 ** (i - 6)) * middles)  # exact: a constant, rounded once
    magnitudes = np.concatenate(positive)
    return np.sort(np.concatenate([-magnitudes, magnitudes, np.array([0, 1], np.float32)]))


TABLES: Mapping[str, F32] = {"nf4": NF4, "fp4": FP4, "dynamic8": dynamic_map()}
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
)


def encode(x: F32, table: F32) -> Codes:  # f32[b, n] -> s u32[b, 1], q u8[b, n]
    """Codes of the nearest table entries, the lower of two equally near."""
    absmax = np.maximum.reduce(np.abs(x), axis=1)
    reciprocal = np.float32(1) / np.maximum(absmax, LEAST)
    scaled = np.clip(x * reciprocal[:, None], np.float32(-1), np.float32(1))
    order = np.argsort(table, kind="stable").astype(np.uint8)
    entries = table[order]
    middles = (entries[:-1] + entries[1:]) / np.float32(2)
    return {"s": absmax.view(np.uint32)[:, None], "q": order[np.searchsorted(middles, scaled)]}


def _build(name: str, knobs: Mapping[str, str | int]) -> Scheme:
    block, table = int(knobs["block"]), TABLES[name]
    if name == "dynamic8":
        codes, place = Plane((1,), 1), field("codes", Unsigned(8), "0")
    else:
        codes, place = Plane((2,), 1), field("codes", Unsigned(4), "4", "0")
    layout = Layout(
        {"codes": codes, "absmax": Plane((block,), 4)},
        {"q": place, "s": field("absmax", FLOAT32, "0", over=block)},
        ("mul", ("lut", "table", "q"), "s"),
        {"table": table},
    )
    return Scheme(
        f"bnb/{name}[block={block}]",
        TITLES[name],
        layout,
        partial(encode, table=table),
        (block,),
        parameters=dict(knobs),
    )


FAMILIES = tuple(
    Family(f"bnb/{name}", TITLES[name], KNOBS, partial(_build, name)) for name in TABLES
)
