"""`nvfp4-pack-quantized` and `mxfp4-pack-quantized`: E2M1 codes under scales of 16 or 32 weights.

NVFP4 has a number of the tensor, by which its E4M3 scales are divided: 2688 times the reciprocal of
the largest magnitude. MXFP4 has powers of two; a largest magnitude of at least 1.75 times a power
counts as the next one. Both divide weights by the scale that decoders use, and lose the sign of
zeros.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, field
from refquant.numerics import minifloat_bits, minifloat_values
from refquant.schemes.affine import WHOLE_TENSOR
from refquant.schemes.ct.integers import DTYPE, in_dtype
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob
from refquant.schemes.small_floats import FLOAT4_E2M1, FLOAT8_E4M3FN, FLOAT8_E8M0, form_of

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

SIX, MOST_SCALE, BOTH = np.float32(6), np.float32(448), np.float32(6 * 448)
TINY = np.float32(2.0**-126)
EIGHTH = np.uint8(0x20)
"""The E4M3 code of 0.125, which stands for scales that would be 0."""
NAN = np.uint8(0x7F)
SCALES = minifloat_values(*form_of(FLOAT8_E4M3FN))
POWERS = minifloat_values(*form_of(FLOAT8_E8M0))
THREE_QUARTERS_UP = np.uint32(1 << 21)
"""Added to the bits of a number it carries into the exponent from 1.75 times a power on."""


def elements(quotients: F32) -> NDArray[np.uint8]:  # f32[...] -> u8[...]
    """The nearest E2M1 codes, ties to even, at most 6; -0.0 and NaN have code 0."""
    codes = minifloat_bits(np.clip(quotients, -SIX, SIX), form_of(FLOAT4_E2M1))
    return np.where((quotients == 0) | np.isnan(quotients), np.uint8(0), codes.astype(np.uint8))


def nvfp4(dtype: str, x: F32) -> Codes:  # f32[1, n] -> g u32[1, 1], s u8[1, n/16], q u8[1, n]
    """A divisor of the tensor, scales of blocks times that divisor, codes by both."""
    x = in_dtype(dtype, x)
    blocks = x.reshape(-1, 16)
    largest = np.maximum.reduce(np.abs(blocks), axis=1)
    # torch computes a number over a tensor as its reciprocal times the number.
    reciprocal = in_dtype(dtype, np.float32(1) / np.maximum(largest.max(keepdims=True), TINY))
    divisor = in_dtype(dtype, BOTH * reciprocal)
    divisor = np.where(np.isinf(divisor), np.float32(1), divisor)
    scales = np.minimum(divisor * in_dtype(dtype, largest / SIX), MOST_SCALE)
    bits = minifloat_bits(scales, form_of(FLOAT8_E4M3FN))
    bits = np.where(bits == 0, EIGHTH, bits)
    # Where bfloat16 overflows, zero times infinity is a NaN of either sign; here it is positive.
    bits = np.where(np.isnan(scales), NAN, bits)
    quotients = blocks / (SCALES[bits] / divisor)[:, None]
    return {
        "g": divisor.view(np.uint32).reshape(1, 1),
        "s": bits.reshape(1, -1),
        "q": elements(quotients).reshape(x.shape),
    }


def mxfp4(dtype: str, x: F32) -> Codes:  # f32[g, 32] -> s u8[g, 1], q u8[g, 32]
    """The exponent of the largest magnitude, less that of 4; the least is the code 0."""
    x = in_dtype(dtype, x)
    largest = np.maximum.reduce(np.abs(x), axis=1)
    exponent = ((largest.view(np.uint32) + THREE_QUARTERS_UP) >> np.uint32(23)).astype(np.int32)
    bits = np.maximum(exponent - 2, 0).astype(np.uint8)
    return {"s": bits[:, None], "q": elements(in_dtype(dtype, x / POWERS[bits][:, None]))}


NVFP4 = Layout(
    {
        "packed": Plane((2,), 1),
        "scales": Plane((16,), 1),
        "global_scale": Plane(WHOLE_TENSOR, 4),
    },
    {
        "q": field("packed", FLOAT4_E2M1, "2:4"),
        "s": field("scales", FLOAT8_E4M3FN, "0", over=16),
        "g": field("global_scale", FLOAT32, "0", over=WHOLE_TENSOR),
    },
    ("mul", ("div", "s", "g"), "q"),
)
MXFP4 = Layout(
    {"packed": Plane((2,), 1), "scales": Plane((32,), 1)},
    {
        "q": field("packed", FLOAT4_E2M1, "2:4"),
        "s": field("scales", FLOAT8_E8M0, "0", over=32),
    },
    ("mul", "s", "q"),
)
WEIGHTS = Knob("dtype", "of the weights and of the arithmetic on them", DTYPE.values, "f32")


def _nvfp4(knobs: Mapping[str, str | int]) -> Scheme:
    encode, title = partial(nvfp4, str(knobs["dtype"])), FAMILIES[0].title
    return Scheme(_name("nvfp4", knobs), title, NVFP4, encode, WHOLE_TENSOR, parameters=dict(knobs))


def _mxfp4(knobs: Mapping[str, str | int]) -> Scheme:
    encode, title = partial(mxfp4, str(knobs["dtype"])), FAMILIES[1].title
    return Scheme(_name("mxfp4", knobs), title, MXFP4, encode, (32,), parameters=dict(knobs))


def _name(base: str, knobs: Mapping[str, str | int]) -> str:
    return f"ct/{base}" + ("" if knobs["dtype"] == WEIGHTS.default else f"[dtype={knobs['dtype']}]")


FAMILIES = (
    Family(
        "ct/nvfp4",
        "compressed-tensors NVFP4: E4M3 scales over a divisor of the tensor",
        (WEIGHTS,),
        _nvfp4,
    ),
    Family(
        "ct/mxfp4",
        "compressed-tensors MXFP4: powers of two for 32 weights",
        (WEIGHTS,),
        _mxfp4,
    ),
)
