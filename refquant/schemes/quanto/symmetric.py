"""qint8 and qfloat8: codes of eight bits under a scale for each row, or one for the tensor.

The scale is the largest magnitude over the largest code. A group of zeros has scale 0, and code 0
here: in quanto the codes come from 0 / 0, which makes its zeros NaN in qfloat8.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Minifloat, Plane, Signed, field
from refquant.numerics import minifloat_bits
from refquant.schemes.affine import WHOLE_TENSOR
from refquant.schemes.dtypes import DTYPES
from refquant.schemes.names import Family, Knob
from refquant.schemes.quanto.knobs import DTYPE
from refquant.schemes.small_floats import (
    FLOAT8_E4M3FN,
    FLOAT8_E4M3FNUZ,
    FLOAT8_E5M2,
    form_of,
)

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]

SHARE = Knob(
    "granularity",
    "weights that share one scale: a row, or all (activations)",
    ("channel", "tensor"),
    "channel",
    bare=True,
)
KINDS: Mapping[str, tuple[Minifloat | Signed, float]] = {
    "qint8": (Signed(8), 127.0),
    "qfloat8_e4m3fn": (FLOAT8_E4M3FN, 448.0),
    "qfloat8_e4m3fnuz": (FLOAT8_E4M3FNUZ, 240.0),
    "qfloat8_e5m2": (FLOAT8_E5M2, 57344.0),
}


def encode(
    kind: str, dtype: str, x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], q code[g, n]
    """The nearest codes of weights over the scale, ties to even; NaN, of 0 / 0, has code 0."""
    element, largest = KINDS[kind]
    number = DTYPES[dtype]
    x = number.rounded(x)
    scale = number.rounded(np.maximum.reduce(np.abs(x), axis=1) / np.float32(largest))
    quotient = number.rounded(x / scale[:, None])
    quotient = np.where(np.isnan(quotient), np.float32(0), quotient)
    codes: NDArray[np.integer]
    if isinstance(element, Signed):
        codes = np.clip(np.rint(quotient), np.float32(-128), np.float32(127)).astype(np.int8)
    else:
        limited = np.clip(quotient, np.float32(-largest), np.float32(largest))
        codes = minifloat_bits(limited, form_of(element))
    return {"s": number.bits(scale)[:, None], "q": codes}


def _scheme(kind: str, knobs: Mapping[str, str | int]) -> Scheme:
    share, dtype = str(knobs["granularity"]), str(knobs["dtype"])
    over = (0,) if share == "channel" else WHOLE_TENSOR
    scale = DTYPES[dtype].element
    layout = Layout(
        {"codes": Plane((1,), 1), "scales": Plane(over, scale.bits // 8)},
        {
            "q": field("codes", KINDS[kind][0], "0"),
            "s": field("scales", scale, "0", over=over),
        },
        ("mul", "s", "q"),
    )
    shown = [share] + ([f"dtype={dtype}"] if dtype != DTYPE.default else [])
    return Scheme(
        f"quanto/{kind}[{','.join(shown)}]",
        TITLES[kind],
        layout,
        partial(encode, kind, dtype),
        over,
        parameters=dict(knobs),
    )


TITLES = {
    "qint8": "quanto 8-bit integers, a scale per row or tensor",
    "qfloat8_e4m3fn": "quanto E4M3 floats, a scale per row or tensor",
    "qfloat8_e4m3fnuz": "quanto E4M3FNUZ floats, a scale per row or tensor",
    "qfloat8_e5m2": "quanto E5M2 floats, a scale per row or tensor",
}
FAMILIES = tuple(
    Family(f"quanto/{kind}", TITLES[kind], (SHARE, DTYPE), partial(_scheme, kind)) for kind in KINDS
)
