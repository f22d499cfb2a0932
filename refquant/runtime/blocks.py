"""What a transformer's layer is made of: linear maps with biases, norms, attention, networks.

Each part is a frozen record of its weights and a function that applies it; a part that a model
does not have is None. So which features a model has is what its records hold, and nothing else.

Letters of the shape comments: t tokens, d the model's width, k inputs and n outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.runtime.attention import Sight, attend
from refquant.runtime.linear import Matrix, linear
from refquant.runtime.ops import GATES, Floats, gelu, gelu_tanh, layer_norm, rms_norm, softmax
from refquant.runtime.precision import is_rounding, rounded
from refquant.runtime.rope import Rope
from refquant.runtime.workers import SharedMatrix

__all__ = [
    "Affine",
    "Attention",
    "Experts",
    "FeedForward",
    "Gated",
    "LayerNorm",
    "Norm",
    "Plain",
    "RmsNorm",
    "affine",
    "attention",
    "feed_forward",
    "normalize",
]

# So few rows are bent by one process before several have heard of it.
FEW_ROWS: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A matrix [outputs, inputs] and perhaps a bias."""

    matrix: Matrix
    bias: Floats | None = None


def affine(x: Floats, w: Affine) -> Floats:  # f32[t, k] -> f32[t, n]
    """X W^T + b."""
    return rounded(linear(x, w.matrix, w.bias))


@dataclass(frozen=True, slots=True, eq=False)
class RmsNorm:
    """A scale for each element."""

    weight: Floats
    epsilon: float


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """A scale and a shift for each element."""

    weight: Floats
    bias: Floats
    epsilon: float


Norm = RmsNorm | LayerNorm


def normalize(x: Floats, norm: Norm) -> Floats:  # f32[..., d], norm -> f32[..., d]
    """Each vector brought to a common size, its mean taken off first if the norm does so."""
    if isinstance(norm, RmsNorm):
        return rounded(rms_norm(x, norm.weight, norm.epsilon))
    return rounded(layer_norm(x, norm.weight, norm.bias, norm.epsilon))


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """One layer's attention.

    Queries, keys and values are stacked into one map, so that one product serves them all.
    """

    heads: int
    key_value_heads: int
    query_key_value: Affine
    output: Affine
    sight: Sight
    rope: Rope | None = None
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    sinks: Floats | None = None


def attention(
    x: Floats,
    w: Attention,
    table: NDArray[np.complex64] | None,
    remember: Callable[[Floats, Floats], tuple[Floats, Floats]],
) -> Floats:  # f32[t, d], weights, c64[t, m]? -> f32[t, d]
    """What each token gathers from the tokens that it sees.

    `remember` takes the new keys and values f32[t, g, h] and returns all of them as f32[g, n, h].
    """
    rows = affine(x, w.query_key_value)
    heads = rows.reshape(len(x), w.heads + 2 * w.key_value_heads, -1)
    turning, values = heads[:, : w.heads + w.key_value_heads], heads[:, -w.key_value_heads :]
    if w.query_norm is not None and w.key_norm is not None:
        normal = [normalize(turning[:, : w.heads], w.query_norm)]
        normal.append(normalize(turning[:, w.heads :], w.key_norm))
        turning = np.concatenate(normal, axis=1)
    if w.rope is not None and table is not None:
        turning = rounded(w.rope.turn(turning, table))
    queries, keys = turning[:, : w.heads], turning[:, w.heads :]
    mixed = attend(queries, *remember(keys, values), w.sight, w.sinks)
    return affine(rounded(mixed), w.output)


@dataclass(frozen=True, slots=True, eq=False)
class Gated:
    """A gated network: gate and up stacked into one map, and the way back down.

    A shared map computes the gated vector in one step if it has been told of the activation.
    """

    gate_up: Affine
    down: Affine
    activation: str


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A network without a gate."""

    up: Affine
    down: Affine
    activation: str


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Gated networks, of which each token takes `used`, those that the router scores highest.

    The results are weighted by the softmax of the scores: of the chosen ones if the weights
    `sum_to_one`, else of all.
    """

    router: Affine
    networks: tuple[Gated, ...] = field(repr=False)
    used: int
    sum_to_one: bool


FeedForward = Gated | Plain | Experts


def feed_forward(x: Floats, w: FeedForward) -> Floats:  # f32[t, d], weights -> f32[t, d]
    """What each token computes by itself."""
    if isinstance(w, Gated):
        return affine(_gated(x, w), w.down)
    if isinstance(w, Plain):
        bend = gelu if w.activation == "gelu" else gelu_tanh
        return affine(rounded(bend(affine(x, w.up))), w.down)
    return _experts(x, w)


def _gated(x: Floats, w: Gated) -> Floats:  # f32[t, d], weights -> f32[t, n]
    matrix = w.gate_up.matrix
    together = matrix.gated if isinstance(matrix, SharedMatrix) else None
    if together is not None and len(x) > FEW_ROWS and w.gate_up.bias is None and not is_rounding():
        return linear(x, together)
    both = affine(x, w.gate_up)
    half = both.shape[1] // 2
    return rounded(GATES[w.activation](both[:, :half], both[:, half:]))


def _experts(x: Floats, w: Experts) -> Floats:  # f32[t, d], weights -> f32[t, d]
    """Of equal scores the lower expert is chosen."""
    scores = affine(x, w.router)
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, : w.used]  # [t, used]
    if w.sum_to_one:
        shares = softmax(np.take_along_axis(scores, chosen, axis=1))
    else:
        shares = np.take_along_axis(softmax(scores), chosen, axis=1)
    y = np.zeros_like(x)
    for expert in np.unique(chosen).tolist():
        tokens, ranks = np.nonzero(chosen == expert)
        y[tokens] += shares[tokens, ranks][:, np.newaxis] * feed_forward(
            x[tokens], w.networks[expert]
        )
    return rounded(y)
