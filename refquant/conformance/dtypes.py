"""The types of elements that arrays of the suite have."""

from collections.abc import Mapping
from typing import Final

__all__ = ["DTYPES"]

DTYPES: Final[Mapping[str, str]] = {
    "u8": "<u1",
    "i8": "<i1",
    "u16": "<u2",
    "i16": "<i2",
    "u32": "<u4",
    "i32": "<i4",
    "u64": "<u8",
    "i64": "<i8",
    "f16": "<f2",
    "bf16": "<u2",
    "f32": "<f4",
    "f64": "<f8",
}
"""NumPy's spelling of each type of element; bfloat16 is kept as its 16 bits."""
