"""The arithmetic of a transformer: pure functions on float32 arrays.

Letters of the shape comments: t tokens, h heads, d a vector's length, k inputs and n outputs of a
linear map, v vocabulary. `...` stands for any leading axes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from refquant.runtime.arithmetic_mode import primitives

__all__ = [
    "GATES",
    "Floats",
    "RopeStyle",
    "clamped_swiglu",
    "geglu",
    "gelu",
    "gelu_tanh",
    "layer_norm",
    "log_probability",
    "products",
    "rms_norm",
    "rope_table",
    "rotate",
    "silu",
    "soft_cap",
    "softmax",
    "swiglu",
    "unit",
]

Floats = NDArray[np.float32]
RopeStyle = Literal["interleaved", "halves"]

# The tanh form of GELU (Hendrycks and Gimpel, 2016): sqrt(2 / pi) and the cubic term's share.
GELU_STEEPNESS: Final = np.float32(math.sqrt(2 / math.pi))
GELU_CUBIC: Final = np.float32(0.044715)

ROOT_OF_HALF: Final = np.float32(math.sqrt(0.5))

# gpt-oss: steepness of its sigmoid, and the size beyond which gate and up are cut off.
CLAMPED_STEEPNESS: Final = np.float32(1.702)
CLAMPED_LIMIT: Final = np.float32(7.0)


def products(x: Floats, y: Floats) -> Floats:  # f32[*a, t, k], f32[*b, k, n] -> f32[*c, t, n]
    """The products of matrices, one for each of the leading axes, which broadcast."""
    return primitives().products(x, y)


def rms_norm(
    x: Floats, weight: Floats, epsilon: float
) -> Floats:  # f32[..., d], f32[d] -> f32[..., d]
    """Each vector divided by its root mean square, then scaled element by element.

    y = x / sqrt(mean(x**2) + epsilon) * weight.
    """
    mean_square = primitives().sum_of_squares(x) * np.float32(1 / x.shape[-1])  # [...]
    root = np.sqrt(mean_square + np.float32(epsilon))
    normal: Floats = x / root[..., np.newaxis]
    return np.multiply(normal, weight, out=normal)


def layer_norm(
    x: Floats, weight: Floats, bias: Floats, epsilon: float
) -> Floats:  # f32[..., d], f32[d], f32[d] -> f32[..., d]
    """Each vector with its mean taken off, divided by its deviation, scaled and moved.

    y = (x - mean(x)) / sqrt(mean((x - mean(x))**2) + epsilon) * weight + bias.
    """
    part = np.float32(1 / x.shape[-1])
    centred: Floats = x - (primitives().sum_rows(x) * part)[..., np.newaxis]
    root = np.sqrt(primitives().sum_of_squares(centred) * part + np.float32(epsilon))
    centred /= root[..., np.newaxis]
    centred *= weight
    centred += bias
    return centred


def silu(x: Floats) -> Floats:  # f32[...] -> f32[...]
    """The sigmoid linear unit, x / (1 + exp(-x))."""
    denominator = np.negative(x)
    with np.errstate(over="ignore"):  # exp(-x) = inf below -88 gives the right limit, -0.
        primitives().exp(denominator)
    denominator += np.float32(1)
    return np.divide(x, denominator, out=denominator)


def swiglu(gate: Floats, up: Floats) -> Floats:  # f32[..., d], f32[..., d] -> f32[..., d]
    """The gated vector silu(gate) * up."""
    gated = silu(gate)
    return np.multiply(gated, up, out=gated)


def gelu_tanh(x: Floats) -> Floats:  # f32[...] -> f32[...]
    """GELU in its tanh form: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))."""
    bent: Floats = GELU_STEEPNESS * (x + GELU_CUBIC * (x * x * x))
    primitives().tanh(bent)
    bent += np.float32(1)
    bent *= np.float32(0.5) * x
    return bent


def gelu(x: Floats) -> Floats:  # f32[...] -> f32[...]
    """GELU, x / 2 * (1 + erf(x / sqrt(2)))."""
    share = primitives().erf(x * ROOT_OF_HALF)
    share += np.float32(1)
    share *= np.float32(0.5) * x
    return share


def geglu(gate: Floats, up: Floats) -> Floats:  # f32[..., d], f32[..., d] -> f32[..., d]
    """The gated vector gelu_tanh(gate) * up."""
    gated = gelu_tanh(gate)
    return np.multiply(gated, up, out=gated)


def clamped_swiglu(gate: Floats, up: Floats) -> Floats:  # f32[..., d], f32[..., d] -> f32[..., d]
    """gpt-oss's gate: g / (1 + exp(-1.702 g)) * (u + 1), g at most 7 and u within 7 of zero."""
    gate = np.minimum(gate, CLAMPED_LIMIT)
    up = np.clip(up, -CLAMPED_LIMIT, CLAMPED_LIMIT)
    denominator: Floats = gate * -CLAMPED_STEEPNESS
    with np.errstate(over="ignore"):  # exp = inf far below zero gives the right limit, -0.
        primitives().exp(denominator)
    denominator += np.float32(1)
    np.divide(gate, denominator, out=gate)
    up += np.float32(1)
    return np.multiply(gate, up, out=up)


GATES: Final[Mapping[str, Callable[[Floats, Floats], Floats]]] = {
    "silu": swiglu,
    "gelu_tanh": geglu,
    "clamped_silu": clamped_swiglu,
}
"""From gate and up to the gated vector, by the name of the activation."""


def soft_cap(x: Floats, cap: float) -> Floats:  # f32[...] -> f32[...]
    """The number cap * tanh(x / cap): nearly x where it is small, never beyond the cap."""
    capped: Floats = x / np.float32(cap)
    primitives().tanh(capped)
    capped *= np.float32(cap)
    return capped


def softmax(
    x: Floats, out: Floats | None = None, sink: Floats | None = None
) -> Floats:  # f32[..., n], f32[..., n]?, f32[...]? -> f32[..., n]
    """Exponentials that sum to one along the last axis; the largest is taken off first.

    A `sink` is one more number of each row, which takes its share of the sum and is left out.
    """
    largest = np.maximum.reduce(x, axis=-1, keepdims=True)
    if sink is not None:
        largest = np.maximum(largest, sink[..., np.newaxis])
    weights = np.subtract(x, largest, out=out)
    primitives().exp(weights)
    whole = primitives().sum_rows(weights)[..., np.newaxis]
    if sink is not None:
        whole = whole + primitives().exp(sink[..., np.newaxis] - largest)
    weights /= whole
    return weights


def log_probability(logits: Floats, token: int) -> np.float32:  # f32[v], int -> f32
    """The logarithm of a token's share in the softmax of the logits."""
    away = logits - np.maximum.reduce(logits)
    of_token = away[token]
    whole = primitives().sum_rows(primitives().exp(away))
    return np.float32(of_token - primitives().log(np.atleast_1d(whole))[0])


def unit(x: Floats) -> Floats:  # f32[..., d] -> f32[..., d]
    """Each vector brought to length 1; one without length stays as it is."""
    length = np.sqrt(primitives().sum_of_squares(x))[..., np.newaxis]
    brought: Floats = np.divide(x, np.where(length > 0, length, np.float32(1)), dtype=np.float32)
    return brought


def rope_table(
    start: int, tokens: int, frequencies: NDArray[np.float64], size: float = 1.0
) -> NDArray[np.complex64]:  # int, int, f64[n], float -> c64[t, n]
    """Complex numbers of length `size` by which pairs of elements rotate, one for each frequency.

    Entry [p, i] is size * exp(1j * (start + p) * frequencies[i]); the angle of a late position
    keeps its low bits, for it is not rounded to binary32.
    """
    table = primitives().table(start, tokens, frequencies)
    return table if size == 1.0 else np.asarray(table * np.float32(size))


def rotate(
    x: Floats, table: NDArray[np.complex64], style: RopeStyle
) -> Floats:  # f32[t, h, d], c64[t, d / 2] -> f32[t, h, d]
    """Every head's pairs of elements turned by their position's angles.

    A pair (a, b) is the complex number a + bj, and turning it is a product. `interleaved` pairs
    neighbours (2i, 2i + 1); `halves` pairs (i, i + d / 2).
    """
    turn = table[:, np.newaxis, :]  # [t, 1, d / 2]
    if style == "interleaved":
        return primitives().turned(np.ascontiguousarray(x), turn)
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    turned = np.empty_like(x)
    np.subtract(a * turn.real, b * turn.imag, out=turned[..., :half])
    np.add(b * turn.real, a * turn.imag, out=turned[..., half:])
    return turned
