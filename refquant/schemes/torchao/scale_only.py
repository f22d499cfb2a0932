"""`torchao/hqq_scale_only`: symmetric codes whose scale is fitted by least squares, round by round.

Codes are those of the quotient by the scale; the scale then becomes the one under which they are
nearest to the weights, `sum(x * q) / sum(q * q)`, and so on until no scale of the tensor moves by
a hundred-thousandth. The first scale divides the largest magnitude by the number of negative codes.
Sums are the binary32 numbers nearest to the real sums, where torch's have its processor's order.
What is stored is laid out as `torchao/int4` and its siblings are.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.correctly_rounded import sum_rows
from refquant.driver import Scheme
from refquant.schemes.affine import affine_point
from refquant.schemes.dtypes import DTYPES
from refquant.schemes.names import Family, Knob
from refquant.schemes.torchao.integers import GRANULARITY, GROUP

__all__ = ["FAMILIES", "fitted_scales", "scaled_codes"]

F32 = NDArray[np.float32]
LEAST = np.float32(2.0**-23)
STILL = np.float32(1e-5)
"""The relative step below which a round is the last one."""

KNOBS = (
    Knob("bits", "width of a code", range(1, 9), 4),
    replace(GRANULARITY, default="group"),
    GROUP,
    Knob("scale", "storage of the scale, after codes are chosen", ("f32", "f16", "bf16"), "f32"),
    Knob("iters", "rounds at most", range(1, 1001), 20),
)


def fitted_scales(x: F32, bits: int, iterations: int) -> F32:  # f32[g, n] -> f32[g]
    """The scale of each group after the last round."""
    before: F32 = np.maximum(
        np.maximum.reduce(np.abs(x), axis=1) / np.float32(1 << (bits - 1)), LEAST
    )
    for _ in range(iterations):
        codes = scaled_codes(x, before, bits)
        products, squares = sum_rows(x * codes), sum_rows(codes * codes)
        scale = np.maximum(np.where(squares > 0, products / squares, before), LEAST)
        step = np.max(np.abs(scale - before) / np.maximum(before, LEAST))
        before = scale
        if step < STILL:
            break
    return before


def scaled_codes(x: F32, scale: F32, bits: int) -> F32:  # f32[g, n], f32[g] -> f32[g, n]
    """The nearest codes under a scale for each group, ties to even."""
    most = 1 << (bits - 1)
    held: F32 = np.clip(np.rint(x / scale[:, None]), np.float32(-most), np.float32(most - 1))
    return held


def encode(
    x: F32, knobs: Mapping[str, str | int]
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], q i8[g, n]
    """Codes under the scales of the last round."""
    bits = int(knobs["bits"])
    scale = fitted_scales(x, bits, int(knobs["iters"]))
    codes = scaled_codes(x, scale, bits).astype(np.int8)
    # One-bit codes -1 and 0 are stored as 0 and 1.
    codes += np.int8(bits == 1)
    return {"s": DTYPES[str(knobs["scale"])].bits(scale)[:, None], "q": codes}


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, granularity = int(knobs["bits"]), str(knobs["granularity"])
    shown = [f"bits={bits}"]
    shown.append(f"group={knobs['group']}" if granularity == "group" else granularity)
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[3:] if knobs[k.name] != k.default]
    found = affine_point(
        f"torchao/hqq_scale_only[{','.join(shown)}]",
        f"torchao {bits}-bit integers, symmetric, scales fitted by least squares",
        bits=bits,
        granularity=granularity,
        group=int(knobs["group"]),
        scale=str(knobs["scale"]),
        range="full",
    )
    whole = partial(encode, knobs=knobs)
    return replace(found, encode=whole, ragged=False, whole=True, parameters=dict(knobs))


FAMILIES = (Family("torchao/hqq_scale_only", "torchao integers with fitted scales", KNOBS, _build),)
