"""Tables of small floats and of limits, for the pages on numerics and descriptors."""

import numpy as np

from refquant.layout import Minifloat, rules
from refquant.numerics import minifloat_values
from spec.markdown import table

__all__ = ["SMALL_FLOATS", "limits", "small_float_values", "small_floats"]

SMALL_FLOATS = {
    "float4_e2m1": Minifloat(1, 2, 1, 1, "none"),
    "float6_e2m3": Minifloat(1, 2, 3, 1, "none"),
    "float6_e3m2": Minifloat(1, 3, 2, 3, "none"),
    "float8_e4m3fn": Minifloat(1, 4, 3, 7, "fn"),
    "float8_e4m3fnuz": Minifloat(1, 4, 3, 8, "fnuz"),
    "float8_e5m2": Minifloat(1, 5, 2, 15, "ieee"),
    "float8_e5m2fnuz": Minifloat(1, 5, 2, 16, "fnuz"),
    "float8_e8m0": Minifloat(0, 8, 0, 127, "e8m0"),
}


def _values(form: Minifloat) -> list[float]:
    table = minifloat_values(form.sign, form.exponent, form.mantissa, form.bias, form.specials)
    return table.astype(np.float64).tolist()


def small_floats() -> str:
    """Widths and extremes of each small float."""
    rows = []
    for name, form in SMALL_FLOATS.items():
        values = _values(form)
        positive = sorted(v for v in values if 0 < v < np.inf)
        normal = 2.0 ** ((0 if form.specials == "e8m0" else 1) - form.bias)
        rows.append(
            (
                f"`{name}`",
                f"{form.sign}+{form.exponent}+{form.mantissa}",
                str(form.bias),
                f"`{form.specials}`",
                f"{positive[-1]:g}",
                f"{normal:.9g}",
                f"{positive[0]:.9g}",
            )
        )
    head = ("float", "bits", "bias", "suffix", "largest", "least normal", "least")
    return table(head, rows)


def small_float_values() -> str:
    """Every value of every small float, half of them where a sign mirrors them."""
    parts = []
    for name, form in SMALL_FLOATS.items():
        values = _values(form)[: 1 << (form.exponent + form.mantissa)]
        columns = 4 if form.specials == "e8m0" else 8
        digits = 1 if form.bits <= 4 else 2
        lines = []
        for first in range(0, len(values), columns):
            cells = "  ".join(f"{_spelled(v):>15}" for v in values[first : first + columns])
            lines.append(f"{first:0{digits}x}  {cells}".rstrip())
        parts.append(f"`{name}`\n\n```text\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts)


def _spelled(value: float) -> str:
    return repr(value).removesuffix(".0")


def limits() -> str:
    """The limits of descriptors."""
    rows = [
        ("planes, and tables", str(rules.MOST_PLANES)),
        ("fields", str(rules.MOST_FIELDS)),
        ("pieces of a field", str(rules.MOST_PIECES)),
        ("slices of a piece", str(rules.MOST_SLICES)),
        ("extents of a block, axes of a slice", str(rules.MOST_AXES)),
        ("bytes of a record", str(rules.MOST_RECORD_BYTES)),
        ("an extent", str(rules.MOST_EXTENT)),
        ("operators and leaves of a formula", str(rules.MOST_NODES)),
        ("operators and leaves from the root of a formula", str(rules.MOST_DEPTH)),
        ("entries of a table", str(rules.MOST_TABLE)),
    ]
    return table(("what", "at most"), rows)
