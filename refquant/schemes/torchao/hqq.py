"""torchao's own HQQ: codes by the solver, parameters in tinygemm's form, in the dtype of a kernel.

`real = scale * (code - middle) + offset`, where the middle is half the number of codes. The solver
is HQQ's with a strength that grows by a hundredth each round, and a zero point of 4 bits begins as
an integer. The inverse scale is at most 20000, also for a group of equal weights. Codes follow the
parameters before they are rounded to their storage.
"""

from collections.abc import Mapping
from functools import partial
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.dtypes import DTYPES
from refquant.schemes.hqq.solver import Solver
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes

__all__ = ["FAMILIES", "STORAGE", "solver_of", "start_of"]

F32 = NDArray[np.float32]
ONE = np.float32(1)
LARGEST_INVERSE = np.float32(2e4)
FIRST_ERROR = 1e4
STORAGE = ("f16", "bf16", "f32")

KNOBS = (
    Knob("bits", "width of a code", ("2", "3", "4", "5", "6", "8"), "4"),
    Knob("group", "weights of a group along the axis", range(2, 65537), 64),
    Knob("scale", "storage of scale and offset, after codes are chosen", STORAGE, "f16"),
    Knob("iters", "rounds of the solver at most", range(1, 1001), 20),
)


def start_of(x: F32, bits: int) -> tuple[F32, F32]:  # f32[g, n] -> f32[g], f32[g]
    """The inverse scale of each group, and the zero point before the solver."""
    low, high = extremes(x)
    largest = np.float32((1 << bits) - 1)
    inverse: F32 = np.minimum((ONE / (high - low)) * largest, LARGEST_INVERSE)
    zero: F32 = -low * inverse
    return inverse, np.rint(zero) if bits == 4 else zero


def solver_of(bits: int, iterations: int) -> Solver:
    """The solver with the norm, the strength and the growth of torchao."""
    return Solver(np.float32((1 << bits) - 1), iterations, 10.0, 0.7, 1.01, FIRST_ERROR)


def encode(
    x: F32, knobs: Mapping[str, str | int]
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], z code[g, 1], q u8[g, n]
    """Codes and parameters after the solver's last round."""
    bits, stored = int(knobs["bits"]), DTYPES[str(knobs["scale"])].bits
    inverse, zero = start_of(x, bits)
    solver = solver_of(bits, int(knobs["iters"]))
    zero = solver.zero_points(x, inverse, zero)
    scale = ONE / inverse
    offset = (np.float32(1 << (bits - 1)) - zero) * scale
    return {
        "s": stored(scale)[:, None],
        "z": stored(offset)[:, None],
        "q": solver.codes(x, inverse, zero).astype(np.uint8),
    }


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, group, element = (
        int(knobs["bits"]),
        int(knobs["group"]),
        DTYPES[str(knobs["scale"])].element,
    )
    count, size = 8 // gcd(bits, 8), element.bits // 8
    layout = Layout(
        {
            "codes": Plane((count,), count * bits // 8),
            "scales": Plane((group,), size),
            "offsets": Plane((group,), size),
        },
        {
            "q": field("codes", Unsigned(bits), f"{count}:{bits}+0" if count > 1 else "0"),
            "s": field("scales", element, "0", over=group),
            "z": field("offsets", element, "0", over=group),
        },
        ("add", ("mul", "s", ("sub", "q", float(1 << (bits - 1)))), "z"),
    )
    shown = [f"bits={bits}", f"group={group}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[2:] if knobs[k.name] != k.default]
    return Scheme(
        f"torchao/hqq[{','.join(shown)}]",
        f"torchao's HQQ, {bits}-bit groups with a scale and a real offset",
        layout,
        partial(encode, knobs=knobs),
        (group,),
        parameters=dict(knobs),
        whole=True,
    )


FAMILIES = (
    Family("torchao/hqq", "torchao's HQQ, groups with a scale and a real offset", KNOBS, _build),
)
