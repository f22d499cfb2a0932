"""What builds and packages of ggml do otherwise: fused products and sums, and NaN that spread.

Engines may declare these as behaviours (rule S-13 of `SPEC.md`).
"""

import numpy as np
from numpy.typing import NDArray

from conformance.mutants.rivals import Change, Codes, recoded, rival
from conformance.mutants.schemes import Mutant

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]


def fused(middle: float, top: int) -> Change:
    """A compiler that contracts: product and sum rounded once, in Q4_0 and Q5_0."""

    def change(x: F32, codes: Codes) -> Codes:
        places = np.abs(x).argmax(axis=1)[:, None]
        scale = np.take_along_axis(x, places, 1) / np.float32(-np.floor(middle))
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        exact = x.astype(np.float64) * inverse.astype(np.float64)
        chosen = np.trunc(np.nan_to_num((exact + middle).astype(np.float32)))
        usable = np.isfinite(inverse)
        return codes | {"q": np.where(usable, np.clip(chosen, 0, top), codes["q"]).astype(np.uint8)}

    return change


def fused_offset(top: int) -> Change:
    """The same in Q4_1 and Q5_1, where the minimum is subtracted first."""

    def change(x: F32, codes: Codes) -> Codes:
        low = x.min(axis=1, keepdims=True)
        scale = (x.max(axis=1, keepdims=True) - low) / np.float32(top)
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
        exact = (x - low).astype(np.float64) * inverse.astype(np.float64)
        chosen = np.trunc(np.nan_to_num((exact + 0.5).astype(np.float32)))
        usable = np.isfinite(inverse) & np.isfinite(scale)
        return codes | {"q": np.where(usable, np.clip(chosen, 0, top), codes["q"]).astype(np.uint8)}

    return change


def spread_nan(x: F32, codes: Codes) -> Codes:
    """gguf-py: a NaN makes the numbers of its block NaN, and its codes 0."""
    broken = np.isnan(x).any(axis=1)
    quiet = {key: np.uint16(0x7E00) for key in "dm"}
    return {
        key: np.where(broken.reshape(-1, *[1] * (one.ndim - 1)), quiet.get(key, 0), one).astype(
            one.dtype
        )
        for key, one in codes.items()
    }


MUTANTS: tuple[Mutant, ...] = (
    rival(
        "q4_0-fused",
        "ggml/q4_0",
        "product and sum rounded once",
        recoded("ggml/q4_0", fused(8.5, 15)),
    ),
    rival(
        "q5_0-fused",
        "ggml/q5_0",
        "product and sum rounded once",
        recoded("ggml/q5_0", fused(16.5, 31)),
    ),
    *(
        rival(
            f"{name}-fused",
            f"ggml/{name}",
            "product and sum rounded once",
            recoded(f"ggml/{name}", fused_offset(top)),
        )
        for name, top in (("q4_1", 15), ("q5_1", 31))
    ),
    *(
        rival(
            f"{name}-nan-spreads",
            f"ggml/{name}",
            "a NaN makes its block's scale NaN",
            recoded(f"ggml/{name}", spread_nan),
        )
        for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4")
    ),
)
"""Every mutant of this file."""
