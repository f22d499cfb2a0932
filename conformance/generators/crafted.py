"""Weights aimed at one rule of one format, where no general kind of trouble reaches it."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.testing import SplitMix64
from refquant.testing.inputs import KINDS

__all__ = ["crafted"]

F32 = NDArray[np.float32]
Crafted = tuple[str, F32, str]


def crafted(scheme: Scheme, seed: int) -> Iterator[Crafted]:
    """A label, weights and a reason; another seed gives other weights for the same reason."""
    for applies, label, make, why in RULES:
        if applies(scheme):
            yield label, make(scheme, SplitMix64(900 + seed)), why


def _halves(scheme: Scheme, random: SplitMix64) -> F32:
    """Rows of all multiples of a half under a scale of exactly 1, in some order."""
    top = 7.0 if scheme.name.startswith("tflite/int4") else 8.0
    row = np.arange(-7.0, top + 0.5, 0.5, np.float32)
    order = np.argsort(random.bits(row.size), kind="stable")
    return np.resize(row[order], (2, 32)).astype(np.float32)


def _below_powers(_: Scheme, random: SplitMix64) -> F32:
    """Blocks whose largest magnitude is the number just below a power of two, or the power."""
    rows = []
    for k in (2, -2, 5, -7, 11):
        power = np.ldexp(np.float32(1), k).astype(np.float32)
        x = np.clip(random.bell(32), -3, 3) * power / np.float32(4)
        x[0] = np.nextafter(power, np.float32(0))
        rows.append(x.astype(np.float32))
    return np.stack(rows)


def _unsigned_scales(_: Scheme, random: SplitMix64) -> F32:
    """Groups of 16 whose scale is large, halfway between two, or among the least."""
    sizes = [300, 255, 400, 5.25, 0.3125, 7.6 * 2.0**-9, 3.5 * 2.0**-9, 447]
    x = np.clip(random.bell(2, 64), -1, 1).reshape(-1, 16)
    x[:, 0] = np.array(sizes[: len(x)], np.float32) * 6
    x[:, 1:] *= x[:, :1] / np.float32(2)
    return x.reshape(2, 64).astype(np.float32)


def _settled(scheme: Scheme, random: SplitMix64) -> F32:
    """Weights so small that a step changes their clip by less than the tolerance."""
    return KINDS["least"](random, scheme, (8, 64))


def _apart(scheme: Scheme, random: SplitMix64) -> F32:
    """Such groups beside others, which they have to wait for."""
    return KINDS["rows apart"](random, scheme, (8, 64))


def _zeros_behind(scheme: Scheme, random: SplitMix64) -> F32:
    """Blocks of zeros behind blocks that are none."""
    del scheme
    x = random.bell(4, 32)
    x[1::2] = 0
    x[3] *= np.float32(-1)
    return x


RULES: tuple[
    tuple[Callable[[Scheme], bool], str, Callable[[Scheme, SplitMix64], F32], str], ...
] = (
    (
        lambda scheme: scheme.name.startswith(("tflite/int4", "tflite/uint4")),
        "halves",
        _halves,
        "halves of a step",
    ),
    (
        lambda scheme: scheme.name == "ggml/mxfp4" or scheme.name.startswith("mx/mxfp4"),
        "below-powers",
        _below_powers,
        "largest magnitudes just below a power of two",
    ),
    (
        lambda scheme: scheme.parameters.get("algorithm") == "octav",
        "settled",
        _settled,
        "groups that settle at once",
    ),
    (
        lambda scheme: scheme.parameters.get("algorithm") == "octav",
        "apart",
        _apart,
        "groups that settle at once beside others that do not",
    ),
    (
        lambda scheme: scheme.name == "ggml/iq4_nl",
        "zeros-behind",
        _zeros_behind,
        "blocks of zeros behind others",
    ),
    (
        lambda scheme: scheme.name == "ggml/nvfp4",
        "scales",
        _unsigned_scales,
        "scales between two codes, and beyond 256",
    ),
)
"""Which schemes, a label, what makes the weights, and the reason."""
