"""`float-quantized`: E4M3 codes under a scale for each tensor, channel or group.

The scale is the largest magnitude over 448; a scale of zero, and no other, becomes the epsilon of
its dtype. Quotients are limited to the largest code before they are rounded.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, field
from refquant.numerics import minifloat_bits
from refquant.schemes.ct.integers import DTYPE, EPSILON, GROUP, in_dtype, scale_bits, share_of
from refquant.schemes.dtypes import DTYPES, without_signs_of_nan
from refquant.schemes.names import Family, Knob
from refquant.schemes.small_floats import FLOAT8_E4M3FN, form_of

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]

LARGEST = np.float32(448)

SHARE = Knob(
    "granularity",
    "weights that share one scale",
    ("channel", "tensor", "group"),
    "channel",
    bare=True,
)


def encode(
    dtype: str, x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], q code[g, n]
    """The nearest E4M3 codes of weights over the scale."""
    x = in_dtype(dtype, x)
    scale = in_dtype(dtype, np.maximum.reduce(np.abs(x), axis=1) / LARGEST)
    scale = np.where(scale == 0, EPSILON[dtype], scale)
    # A zero point of 0.0 is added, which makes a negative zero positive.
    quotient = in_dtype(dtype, x / scale[:, None]) + np.float32(0)
    limited = np.clip(quotient, -LARGEST, LARGEST)
    # The sign of a NaN from infinity over infinity depends on the processor; here it is positive.
    known = without_signs_of_nan(limited)
    codes = minifloat_bits(known, form_of(FLOAT8_E4M3FN))
    return {"s": scale_bits(dtype, scale)[:, None], "q": codes}


def _scheme(knobs: Mapping[str, str | int]) -> Scheme:
    share, word = share_of(knobs)
    dtype = str(knobs["dtype"])
    element = DTYPES[dtype].element
    layout = Layout(
        {"codes": Plane((1,), 1), "scales": Plane(share, element.bits // 8)},
        {
            "q": field("codes", FLOAT8_E4M3FN, "0"),
            "s": field("scales", element, "0", over=share),
        },
        ("mul", "s", "q"),
    )
    shown = [word] + ([f"dtype={dtype}"] if dtype != "f32" else [])
    return Scheme(
        f"ct/fp8[{','.join(shown)}]",
        "compressed-tensors E4M3 codes with scales",
        layout,
        partial(encode, dtype),
        share,
        parameters=dict(knobs),
    )


FAMILIES = (
    Family(
        "ct/fp8",
        "compressed-tensors E4M3 codes with scales (float-quantized)",
        (SHARE, GROUP, DTYPE),
        _scheme,
    ),
)
