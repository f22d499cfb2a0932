"""NVFP4 with a scale of the tensor: `real = (scale * tensor_scale) * element`.

Elements are E2M1, scales are E4M3 numbers for 16 weights, and `tensor_scale`, one binary32 number
for the whole tensor, is its largest magnitude over 6 * 448, so that the largest scale is 448. It is
a multiplier here, as in ModelOpt and torchao; compressed-tensors stores a divisor.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, field
from refquant.numerics import minifloat_bits, minifloat_values
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob
from refquant.schemes.small_floats import FLOAT4_E2M1, FLOAT8_E4M3FN, form_of

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

BLOCK = 16
WHOLE_TENSOR = (0,) * 8
ONE, SIX, MOST = np.float32(1), np.float32(6), np.float32(448)
SCALES = minifloat_values(*form_of(FLOAT8_E4M3FN))

KNOBS = (
    Knob(
        "convention",
        "operations and least scale: ModelOpt's (2**-9, and 1 for blocks of zeros) or torchao's "
        "(2**-6)",
        ("modelopt", "torchao"),
        "modelopt",
    ),
)


def by_modelopt(x: F32, tensor_scale: np.float32) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scales and codes of blocks `f32[b, 16]`: the block's largest magnitude over a product."""
    scale = np.maximum.reduce(np.abs(x), axis=1) / (SIX * tensor_scale)
    scale = np.where((scale == 0) | (tensor_scale == 0), ONE, scale)
    held = np.clip(scale, np.float32(2.0**-9), MOST)
    bits = minifloat_bits(held, form_of(FLOAT8_E4M3FN))
    scaled = x / (SCALES[bits] * tensor_scale)[:, None]
    codes = minifloat_bits(scaled, form_of(FLOAT4_E2M1))
    # ModelOpt compares the quotient with 0 for the sign, so that -0.0 has none.
    return bits, np.where((x == 0) | (scaled == 0), np.uint8(0), codes)


def by_torchao(x: F32, tensor_scale: np.float32) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scales and codes of blocks `f32[b, 16]`: weights times a reciprocal."""
    scale = (np.maximum.reduce(np.abs(x), axis=1) / SIX) / tensor_scale
    held = np.clip(np.where(tensor_scale == 0, ONE, scale), np.float32(2.0**-6), MOST)
    bits = minifloat_bits(held, form_of(FLOAT8_E4M3FN))
    reciprocal = (ONE / tensor_scale) / SCALES[bits]
    codes = minifloat_bits(x * reciprocal[:, None], form_of(FLOAT4_E2M1))
    # Where the reciprocal is infinite, its product with zero is NaN.
    return bits, np.where(x == 0, np.signbit(x).astype(np.uint8) << np.uint8(3), codes)


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    chosen = {"modelopt": by_modelopt, "torchao": by_torchao}[str(knobs["convention"])]

    def encode(x: F32) -> Codes:  # f32[1, n] -> g u32[1, 1], s u8[1, n / 16], q u8[1, n]
        tensor_scale = np.abs(x).max() / (SIX * MOST)
        scales, codes = chosen(x.reshape(-1, BLOCK), tensor_scale)
        if tensor_scale == 0:
            codes = np.zeros_like(codes)
        bits = np.asarray(tensor_scale, np.float32).view(np.uint32)
        return {
            "g": bits.reshape(1, 1),
            "s": scales.reshape(len(x), -1),
            "q": codes.reshape(x.shape),
        }

    return Scheme(
        f"mx/nvfp4[convention={knobs['convention']}]",
        TITLE,
        LAYOUT,
        encode,
        WHOLE_TENSOR,
        parameters=dict(knobs),
    )


TITLE = "NVFP4: E2M1 floats, an E4M3 scale for 16 weights, a scale of the tensor"
LAYOUT = Layout(
    {
        "codes": Plane((2,), 1),
        "scales": Plane((BLOCK,), 1),
        "tensor_scale": Plane(WHOLE_TENSOR, 4),
    },
    {
        "q": field("codes", FLOAT4_E2M1, "2:4"),
        "s": field("scales", FLOAT8_E4M3FN, "0", over=BLOCK),
        "g": field("tensor_scale", FLOAT32, "0", over=WHOLE_TENSOR),
    },
    ("mul", ("mul", "s", "g"), "q"),
)

FAMILIES = (Family("mx/nvfp4", TITLE, KNOBS, _build),)
