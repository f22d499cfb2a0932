"""The arithmetic of a transformer: pure functions on float32 arrays.

Letters of the shape comments: t tokens, h heads, d a vector's length, k inputs and n outputs of a
linear map, v vocabulary. `...` stands for any leading axes.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "RopeStyle", "rms_norm", "rope_table", "rotate", "silu", "softmax", "swiglu"]

Floats = NDArray[np.float32]
RopeStyle = Literal["interleaved", "halves"]


def rms_norm(
    x: Floats, weight: Floats, epsilon: float
) -> Floats:  # f32[..., d], f32[d] -> f32[..., d]
    """Each vector divided by its root mean square, then scaled element by element.

    y = x / sqrt(mean(x**2) + epsilon) * weight.
    """
    mean_square = np.vecdot(x, x) * np.float32(1 / x.shape[-1])  # [...]
    root = np.sqrt(mean_square + np.float32(epsilon))
    normal: Floats = x / root[..., np.newaxis]
    return np.multiply(normal, weight, out=normal)


def silu(x: Floats) -> Floats:  # f32[...] -> f32[...]
    """The sigmoid linear unit, x / (1 + exp(-x))."""
    denominator = np.negative(x)
    with np.errstate(over="ignore"):  # exp(-x) = inf below -88 gives the right limit, -0.
        np.exp(denominator, out=denominator)
    denominator += np.float32(1)
    return np.divide(x, denominator, out=denominator)


def swiglu(gate_up: Floats) -> Floats:  # f32[t, 2 * d] -> f32[t, d]
    """The gated vector silu(gate) * up, for a row that holds gate and up side by side."""
    half = gate_up.shape[-1] // 2
    gated = silu(gate_up[..., :half])
    return np.multiply(gated, gate_up[..., half:], out=gated)


def softmax(x: Floats, out: Floats | None = None) -> Floats:  # f32[..., n] -> f32[..., n]
    """Exponentials that sum to one along the last axis; the largest is taken off first."""
    largest = np.maximum.reduce(x, axis=-1, keepdims=True)
    weights = np.subtract(x, largest, out=out)
    np.exp(weights, out=weights)
    weights /= np.add.reduce(weights, axis=-1, keepdims=True)
    return weights


def rope_table(start: int, tokens: int, head_width: int, theta: float) -> NDArray[np.complex64]:
    """Unit complex numbers, c64[tokens, head_width / 2], by which pairs of elements rotate.

    Entry [p, i] is exp(1j * (start + p) * theta ** (-2 * i / head_width)), computed in float64
    and rounded once: the angle of a late position keeps its low bits.
    """
    exponents = np.arange(0, head_width, 2, dtype=np.float64) / head_width
    positions = np.arange(start, start + tokens, dtype=np.float64)
    angles = positions[:, np.newaxis] * theta**-exponents
    return (np.cos(angles) + 1j * np.sin(angles)).astype(np.complex64)


def rotate(
    x: Floats, table: NDArray[np.complex64], style: RopeStyle
) -> Floats:  # f32[t, h, d], c64[t, d / 2] -> f32[t, h, d]
    """Every head's pairs of elements turned by their position's angles.

    A pair (a, b) is the complex number a + bj, and turning it is a product. `interleaved` pairs
    neighbours (2i, 2i + 1); `halves` pairs (i, i + d / 2).
    """
    turn = table[:, np.newaxis, :]  # [t, 1, d / 2]
    if style == "interleaved":
        pairs = np.ascontiguousarray(x).view(np.complex64)  # [t, h, d / 2]
        return (pairs * turn).view(np.float32)
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    turned = np.empty_like(x)
    np.subtract(a * turn.real, b * turn.imag, out=turned[..., :half])
    np.add(b * turn.real, a * turn.imag, out=turned[..., half:])
    return turned
