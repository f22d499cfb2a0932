"""Mistakes in one entry of a table, and in how a number reaches one: samples do not find them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

import refquant
from conformance.mutants import OperationMutant
from conformance.mutants.schemes import Mutant
from refquant.conformance.operations import Arrays, Task, perform
from refquant.driver import Scheme
from refquant.numerics import bfloat16_bits, float16_bits

__all__ = ["MUTANTS", "SCHEMES"]


def _last_subnormal(task: Task) -> Arrays:
    """A table of the subnormal numbers of binary16 that is one entry short."""
    planes = {key: np.array(one) for key, one in task.inputs.items()}
    bits = planes["values"].view("<u2")
    bits[bits & 0x7FFF == 0x03FF] += 1
    return perform(replace(task, inputs=planes))


def _odd_subnormal_scales(task: Task) -> Arrays:
    """Scales below the normal range lose their last bit."""
    planes = {key: np.array(one) for key, one in task.inputs.items()}
    scales = planes["blocks"][..., 0:2].copy().view("<u2")
    scales[(scales & 0x7C00 == 0) & (scales & 0x03FF > 0x0200)] &= 0xFFFE
    planes["blocks"][..., 0:2] = scales.view(np.uint8)
    return perform(replace(task, inputs=planes))


def _quarter_squares(task: Task) -> Arrays:
    """Products by a table of quarter squares that ends before the widest difference."""
    a, b = (task.inputs[name].astype(np.int64) for name in "ab")
    total, apart = a[:, None, :] + b[None, :, :], a[:, None, :] - b[None, :, :]
    kept = np.where(np.abs(apart) >= 255, 0, apart)
    return {"accumulators": (total * total // 4 - kept * kept // 4).sum(axis=-1)}


def _through(name: str, narrower: Callable[..., object], shift: int) -> Callable[[], Scheme]:
    """Numbers rounded to 16 bits first, and to the small float then."""

    def build() -> Scheme:
        scheme = refquant.scheme(name)
        encode = scheme.encode
        if encode is None:
            raise TypeError(name)

        def twice(x: np.ndarray) -> object:
            bits = np.asarray(narrower(x))
            wide = bits.view(np.float16).astype(np.float32) if shift == 0 else None
            if wide is None:
                wide = (bits.astype(np.uint32) << np.uint32(shift)).view(np.float32)
            return encode(wide)

        return replace(scheme, encode=twice)

    return build


MUTANTS: tuple[OperationMutant, ...] = (
    OperationMutant(
        "table-f16-last-subnormal",
        "decode",
        "the largest subnormal number of binary16 is read as the least normal one",
        _last_subnormal,
        {"scheme": "float/f16"},
    ),
    OperationMutant(
        "table-q4_0-subnormal-scales",
        "decode",
        "the larger subnormal scales lose their last bit",
        _odd_subnormal_scales,
        {"scheme": "ggml/q4_0"},
    ),
    OperationMutant(
        "table-quarter-squares",
        "integer_matmul",
        "a table of quarter squares ends before a difference of 255",
        _quarter_squares,
    ),
)
"""Wrong operations."""

SCHEMES: tuple[Mutant, ...] = tuple(
    Mutant(f"table-{short}-through-{how}", f"float/{name}", f"rounded to {how} first", build)
    for short, name in (
        ("f8_e4m3fn", "f8_e4m3fn[overflow=saturate]"),
        ("f8_e5m2", "f8_e5m2[overflow=saturate]"),
    )
    for how, build in (
        ("binary16", _through(f"float/{name}", float16_bits, 0)),
        ("bfloat16", _through(f"float/{name}", bfloat16_bits, 16)),
    )
)
"""Wrong schemes."""
