"""MatMulNBits by ONNX Runtime's own quantizer, but for one of its steps."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.rivals import Build, Change, Codes, recoded, rival
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.numerics import round_half_away

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
RUNTIME = "onnx/matmul4bits[{},block=16,quantizer=runtime]"


def by_runtime(nearest: Callable[[F32], F32], *, inverse: bool, magnitude: bool = False) -> Change:
    """MatMulNBits by ONNX Runtime's rule, but for one of its steps."""

    def change(x: F32, codes: Codes) -> Codes:
        scale = codes["s"].view(np.float32)
        scale = np.abs(scale) if magnitude else scale
        usable = (scale != 0) & np.isfinite(scale)
        safe = np.where(usable, scale, np.float32(1))
        quotient = x * (np.float32(1) / safe) if inverse else x / safe
        zero = codes["z"].astype(np.float32)
        chosen = np.clip(np.nan_to_num(nearest(quotient + zero)), 0, 15)
        q = np.where(usable, chosen, codes["q"]).astype(np.uint8)
        return codes | {"s": np.ascontiguousarray(scale).view(np.uint32), "q": q}

    return change


def runtime_recoded(name: str, change: Change) -> Build:
    """Such a scheme; where it stores no zero point, the middle is the zero point."""

    def whole(x: F32, codes: Codes) -> Codes:
        known = {"z": np.full_like(codes["q"][:, :1], 8)} | codes
        return {key: one for key, one in change(x, known).items() if key in codes}

    return recoded(name, whole)


def of_linear(name: str) -> Build:
    """The rule of QuantizeLinear in place of ONNX Runtime's own."""

    def build() -> Scheme:
        linear = refquant.scheme(name.replace(",quantizer=runtime", ""))
        return replace(refquant.scheme(name), encode=linear.encode)

    return build


MUTANTS: tuple[Mutant, ...] = (
    *(
        rival(f"onnx-runtime-{kind}-{label}", RUNTIME.format(kind), words, build)
        for kind in ("sym", "asym")
        for label, words, build in (
            (
                "even",
                "ties to even",
                runtime_recoded(RUNTIME.format(kind), by_runtime(np.rint, inverse=True)),
            ),
            (
                "divided",
                "weights over the scale",
                runtime_recoded(RUNTIME.format(kind), by_runtime(round_half_away, inverse=False)),
            ),
            ("linear", "the rule of QuantizeLinear", of_linear(RUNTIME.format(kind))),
        )
    ),
    rival(
        "onnx-runtime-sym-magnitude",
        RUNTIME.format("sym"),
        "the scale is never negative",
        runtime_recoded(
            RUNTIME.format("sym"), by_runtime(round_half_away, inverse=True, magnitude=True)
        ),
    ),
)
"""Every mutant of this file."""
