"""bitsandbytes' double quantization: the absmax of each block is itself a dynamic 8-bit code.

The mean of all absmax, the offset, is taken off first; what is left is quantized in runs of 256
blocks, with the dynamic table and a binary32 absmax of each run. Blocks and runs are those of the
flattened tensor. A last run that is shorter is divided by its absmax, which is at least 1e-38,
where whole ones are multiplied by its reciprocal.

bitsandbytes adds the mean in the order of torch's kernel for the machine at hand. Here the sum is
rounded once to binary64, divided by the count in binary64, and rounded to binary32.
"""

from collections.abc import Mapping
from math import fsum

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Expression, Field, Plane, Unsigned, field
from refquant.schemes.bnb.dynamic import DYNAMIC, LEAST, nearest_entries
from refquant.schemes.floats import FLOAT32

__all__ = ["NESTED_SCALE", "NESTED_TABLE", "RUN", "mean_of", "nested_codes", "nested_fields"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

RUN = 256
"""Blocks whose absmax share one absmax of their own."""

NESTED_TABLE = "nested_quant_map"
NESTED_SCALE: Expression = ("add", ("mul", ("lut", NESTED_TABLE, "a"), "n"), "o")
"""The absmax of a block: the order is that of bitsandbytes, and both steps round."""


def nested_fields(block: int) -> tuple[dict[str, Plane], dict[str, Field]]:
    """Planes and fields of the absmax codes, those of their runs, and of the one offset."""
    planes = {
        "absmax": Plane((block,), 1),
        "nested_absmax": Plane((block * RUN,), 4),
        "nested_offset": Plane((0,), 4),
    }
    fields = {
        "a": field("absmax", Unsigned(8), "0", over=block),
        "n": field("nested_absmax", FLOAT32, "0", over=block * RUN),
        "o": field("nested_offset", FLOAT32, "0", over=0),
    }
    return planes, fields


def mean_of(absmax: F32) -> np.float32:  # f32[n] -> f32
    """The mean in the stated order."""
    return np.float32(fsum(absmax.tolist()) / absmax.size)


def nested_codes(absmax: F32, offset: np.float32) -> Codes:  # f32[n], f32 -> a u8[n], n f32[r]
    """Codes of what is left of each absmax, and the bits of the runs' own absmax."""
    rest: F32 = absmax - offset
    whole = absmax.size // RUN * RUN
    runs = rest[:whole].reshape(-1, RUN)
    largest = np.maximum.reduce(np.abs(runs), axis=1, initial=np.float32(0))
    scaled = (runs * (np.float32(1) / np.maximum(largest, LEAST))[:, None]).reshape(-1)
    if whole < absmax.size:
        last = np.maximum(np.abs(rest[whole:]).max(), LEAST)
        largest = np.append(largest, last)
        scaled = np.append(scaled, rest[whole:] / last)
    return {"a": nearest_entries(scaled, DYNAMIC), "n": largest.view(np.uint32)}
