"""Encoders: a text in, a vector out. The forward pass of BERT, whole.

Letters of the shape comments: t tokens, d the model's width.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import Architecture, check, family_named
from refquant.arithmetic.precision import Precision
from refquant.errors import FormatError, LimitError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import compute_precision
from refquant.runtime.arithmetic_mode import ArithmeticMode, arithmetic, primitives
from refquant.runtime.attention import Sight
from refquant.runtime.blocks import (
    Attention,
    Norm,
    Plain,
    attention,
    feed_forward,
    normalize,
)
from refquant.runtime.decoder import Watch, embed, watch_nothing
from refquant.runtime.ops import Floats, unit
from refquant.runtime.parts import Parts
from refquant.runtime.precision import in_precision, rounded, rounding
from refquant.runtime.weights import WeightMode
from refquant.tensor import QuantizedTensor

__all__ = ["Encoder", "Pooling", "load_encoder"]

Pooling = Literal["mean", "first", "none"]
POOLINGS: Final[tuple[str, ...]] = get_args(Pooling)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Attention, then a network, each added to its input and normalised behind that."""

    attention: Attention
    attention_norm: Norm
    feed_forward: Plain
    feed_forward_norm: Norm


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """A model that turns token ids into vectors.

    `arithmetic_mode` says how sums are rounded, `precision` how states are. Several threads may ask
    at once, and take turns.
    """

    architecture: Architecture
    embedding: Floats | QuantizedTensor = field(repr=False)
    positions: Floats = field(repr=False)
    token_types: Floats = field(repr=False)
    embedding_norm: Norm = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    arithmetic_mode: ArithmeticMode = "fast"
    precision: Precision = "float32"
    turn: "threading.RLock" = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def pooling(self) -> str:
        """How one vector is made of the tokens' if nobody says otherwise: `mean` or `first`."""
        return str(self.architecture.fields["pooling"])

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.architecture.fields["width"])

    @property
    def context(self) -> int:
        """How many tokens a text may have."""
        return int(self.architecture.fields["context"])

    def embed(
        self,
        ids: Sequence[int] | NDArray[np.int64],
        *,
        pooling: Pooling | None = None,
        normalize: bool = False,
    ) -> Floats:  # i64[t] -> f32[d] or f32[t, d]
        """The vector of a text, f32[d]; with `pooling` "none" one for each token, f32[t, d].

        `mean` is the mean of the tokens' vectors, `first` the first token's; left out, the model's
        own. `normalize` brings every vector to length 1. The ids include the model's own first and
        last token (`Tokenizer.encode_between_ends`).
        """
        chosen = pooling or self.pooling
        if chosen not in POOLINGS:
            raise UsageError(f"pooling can be {', '.join(POOLINGS)}, not {chosen!r}")
        states = self.states(ids)
        with self._computing():
            if chosen == "mean":
                part = np.float32(1 / len(states))
                states = (primitives().sum_rows(states.T) * part)[np.newaxis]
            if chosen == "first":
                states = states[:1]
            if normalize:
                states = unit(states)
        return states if chosen == "none" else states[0]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with (
            np.errstate(over="ignore", invalid="ignore"),
            arithmetic(self.arithmetic_mode),
            rounding(self.precision),
        ):
            yield

    def states(
        self, ids: Sequence[int] | NDArray[np.int64], watch: Watch = watch_nothing
    ) -> Floats:  # i64[t] -> f32[t, d]
        """The last layer's vector for each token; `watch` is shown those of every layer."""
        with self.turn, self._computing():
            x = self._states(self._checked_tokens(ids), watch)
        if not np.isfinite(x).all():
            raise FormatError(
                "E_NOT_FINITE",
                "every weight is finite and yet the vectors are not: the model's values grow "
                f"beyond what {self.precision} can hold",
            )
        return x

    def _states(self, tokens: NDArray[np.int64], watch: Watch) -> Floats:  # i64[t] -> f32[t, d]
        x = embed(tokens, self.embedding) + self.token_types[0]
        x = normalize(rounded(x + self.positions[: len(tokens)]), self.embedding_norm)
        watch("embedding", x)
        for number, layer in enumerate(self.layers):
            x = rounded(x + attention(x, layer.attention, None, _these_alone))
            x = normalize(x, layer.attention_norm)
            x = rounded(x + feed_forward(x, layer.feed_forward))
            x = normalize(x, layer.feed_forward_norm)
            watch(f"blk.{number}", x)
        return x

    def _checked_tokens(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        tokens = np.asarray(ids, np.int64)
        vocabulary = int(self.architecture.fields["vocabulary"])
        if tokens.ndim != 1 or tokens.size == 0:
            raise UsageError(f"token ids have shape {list(tokens.shape)}, expected one or more ids")
        if tokens.min() < 0 or tokens.max() >= vocabulary:
            raise UsageError(f"a token id is not among the model's, 0 to {vocabulary - 1}")
        if tokens.size > self.context:
            raise LimitError(
                f"the text has {tokens.size} tokens, the model takes at most {self.context}"
            )
        return tokens


def _these_alone(
    keys: Floats, values: Floats
) -> tuple[Floats, Floats]:  # f32[t, g, h], f32[t, g, h] -> f32[g, t, h], f32[g, t, h]
    """All keys and values are those of this text."""
    return np.ascontiguousarray(keys.swapaxes(0, 1)), np.ascontiguousarray(values.swapaxes(0, 1))


def load_encoder(
    checkpoint: Checkpoint,
    weights: WeightMode = "float32",
    arithmetic_mode: ArithmeticMode = "fast",
    *,
    precision: Precision | None = None,
) -> Encoder:
    """The encoder that a checkpoint describes, ready to run; options as those of `load_model`.

    Raises UnsupportedError for a model that writes text (`load_model` loads those), FormatError
    for tensors that are not this architecture's, or not finite.
    """
    architecture = checkpoint.need_architecture()
    if family_named(architecture.family).name != "bert":
        raise UnsupportedError(
            f"a model of family {architecture.family} writes text; only encoders (bert) make "
            "embeddings"
        )
    check(architecture, {name: one.shape for name, one in checkpoint.tensors.items()})
    own = compute_precision(checkpoint.extensions) if precision is None else precision
    parts = Parts(in_precision(checkpoint, own), architecture, weights)
    return Encoder(
        architecture=architecture,
        embedding=parts.reader.table("token_embd.weight"),
        positions=parts.reader.vector("position_embd.weight"),
        token_types=parts.reader.vector("token_types.weight"),
        embedding_norm=parts.norm("token_embd_norm"),
        layers=tuple(_layer(parts, f"blk.{layer}") for layer in range(parts.count("layers"))),
        arithmetic_mode=arithmetic_mode,
        precision=own,
    )


def _layer(parts: Parts, block: str) -> Layer:
    heads = parts.count("heads")
    return Layer(
        attention=Attention(
            heads=heads,
            key_value_heads=heads,
            query_key_value=parts.affine(*(f"{block}.attn_{part}" for part in "qkv")),
            output=parts.affine(f"{block}.attn_output"),
            sight=Sight(divisor=parts.count("width") / heads, block=None),
        ),
        attention_norm=parts.norm(f"{block}.attn_output_norm"),
        feed_forward=Plain(
            parts.affine(f"{block}.ffn_up"),
            parts.affine(f"{block}.ffn_down"),
            str(parts.facts["activation"]),
        ),
        feed_forward_norm=parts.norm(f"{block}.layer_output_norm"),
    )
