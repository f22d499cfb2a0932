"""Slips of who writes a decoder of blocks: what is read from the right places, and wrongly.

Each is tried on ggml's formats in wide use whose blocks have a scale in binary16.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from conformance.mutants import OperationMutant
from refquant.conformance.operations import Arrays, Task, perform
from refquant.layout import field_codes, pack_codes

__all__ = ["MUTANTS"]

Bits = NDArray[np.uint16]
Values = NDArray[np.float32]

FORMATS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k")


def _scales(change: Callable[[Bits], Bits]) -> Callable[[Task], Arrays]:
    """The decoder with the 16 bits of every scale changed."""

    def compute(task: Task) -> Arrays:
        tensor, blocks = task.tensor(), np.array(task.inputs["blocks"])
        scales = field_codes(tensor.layout, "d", blocks, task.shape)
        pack_codes(tensor.layout, "d", change(scales.astype(np.uint16)), blocks, task.shape)
        return perform(replace(task, inputs={"blocks": blocks}))

    return compute


def _values(change: Callable[[Values], Values]) -> Callable[[Task], Arrays]:
    """The decoder with its values changed."""

    def compute(task: Task) -> Arrays:
        return {"values": change(np.array(perform(task)["values"]))}

    return compute


def _flushed(scales: Bits) -> Bits:
    return np.where(scales & 0x7C00 == 0, scales & 0x8000, scales)


def _without_nan(scales: Bits) -> Bits:
    return np.where(scales & 0x7C00 == 0x7C00, scales & 0xFC00, scales)


def _all_the_first(scales: Bits) -> Bits:
    return np.broadcast_to(scales.reshape(-1)[0], scales.shape)


def _without_last(values: Values) -> Values:
    values[..., 31::32] = 0
    return values


def _narrowed(values: Values) -> Values:
    return values.astype(np.float16).astype(np.float32)


SLIPS = {
    "big-endian": ("reads the scale's bytes in the other order", _scales(lambda s: s.byteswap())),
    "flushed": ("takes subnormal scales for zero", _scales(_flushed)),
    "nan-infinite": ("takes a NaN in the scale for an infinity", _scales(_without_nan)),
    "first-scale": ("takes the first block's scale for all", _scales(_all_the_first)),
    "short": ("leaves the last of 32 weights at zero", _values(_without_last)),
    "binary16": ("rounds values to binary16", _values(_narrowed)),
    "doubled": ("takes the scale's exponent with a bias of 14", _values(lambda v: v + v)),
}


def _mutants() -> Iterator[OperationMutant]:
    for form in FORMATS:
        for name, (words, compute) in SLIPS.items():
            only = {"scheme": f"ggml/{form}"}
            yield OperationMutant(f"reader-{form}-{name}", "decode", words, compute, only)


MUTANTS = tuple(_mutants())
"""Wrong decoders."""
