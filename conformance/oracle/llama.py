"""A llama in plain Python: every step of a forward pass in exact arithmetic, a number at a time.

Written from the forward pass of spec/arch/llama.md and from spec/arithmetic.md, A-20 to A-27. It
knows what the suite's small models have: tied embeddings, and neither biases, windows, experts nor
scaled positions; another model is refused. Each step is a method, so a mistake is one more method.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from conformance.oracle.binary import add, divide, f32, multiply, square_root, subtract
from conformance.oracle.functions import (
    cosine,
    dot,
    exponential,
    frequency,
    reciprocal_root,
    sine,
    total,
)

__all__ = ["Llama"]

Row = list[float]
Matrix = Sequence[Sequence[float]]
KNOWN = {
    "layers",
    "width",
    "heads",
    "key_value_heads",
    "head_width",
    "feedforward_width",
    "vocabulary",
    "context",
    "rope_theta",
    "rope_style",
    "norm_epsilon",
    "tied_embeddings",
}


class Llama:
    """A model: its fields, and the numbers of its tensors as rows; a norm is one row."""

    def __init__(self, fields: Mapping[str, Any], tensors: Mapping[str, Matrix]) -> None:
        if set(fields) != KNOWN or not fields["tied_embeddings"]:
            raise ValueError(f"this oracle has no model with the fields {sorted(fields)}")
        self.fields, self.tensors = fields, tensors

    def states(self, tokens: Sequence[int]) -> dict[str, list[Row]]:
        """The embedding, the state behind each layer, the last norm, and the logits."""
        embedding = self.tensors["token_embd.weight"]
        x = [list(embedding[token]) for token in tokens]
        found = {"embedding": x}
        for layer in range(self.fields["layers"]):
            x = self.layer(x, f"blk.{layer}")
            found[f"blk.{layer}"] = x
        normed = [self.norm(row, "output_norm") for row in x]
        logits = [mapped(row, embedding) for row in normed]
        return {**found, "output_norm": normed, "logits": logits}

    def layer(self, x: list[Row], place: str) -> list[Row]:
        """Attention and the network, each added to what it was computed from."""
        way_back = self.tensors[f"{place}.attn_output.weight"]
        mixed = self.attention([self.norm(row, f"{place}.attn_norm") for row in x], place)
        x = [added(row, mapped(heads, way_back)) for row, heads in zip(x, mixed, strict=True)]
        return [added(row, self.network(self.norm(row, f"{place}.ffn_norm"), place)) for row in x]

    def norm(self, x: Row, name: str) -> Row:
        """A-20: x over the root of its mean square, times a weight."""
        (weight,) = self.tensors[f"{name}.weight"]
        mean = multiply(total(Fraction(one) ** 2 for one in x), divide(1.0, len(x)))
        root = self.root(mean)
        return [multiply(divide(one, root), w) for one, w in zip(x, weight, strict=True)]

    def root(self, mean: float) -> float:
        """The root of a mean square and epsilon."""
        return square_root(add(mean, f32(self.fields["norm_epsilon"])))

    def attention(self, x: list[Row], place: str) -> list[Row]:
        """A-24 to A-26 for each token: its heads side by side."""
        width = self.fields["head_width"]
        queries, keys, values = (
            [cut(mapped(row, self.tensors[f"{place}.attn_{one}.weight"]), width) for row in x]
            for one in "qkv"
        )
        for turned in (queries, keys):
            for position, heads in enumerate(turned):
                turned[position] = [self.rotated(head, position) for head in heads]
        mixed: list[Row] = []
        for position, heads in enumerate(queries):
            row: Row = []
            for number, query in enumerate(heads):
                shared, seen = self.group(number), self.seen(position, len(x))
                row += self.mixture(
                    query, [keys[at][shared] for at in seen], [values[at][shared] for at in seen]
                )
            mixed.append(row)
        return mixed

    def group(self, head: int) -> int:
        """The head of keys and values that a head of queries reads."""
        return head * int(self.fields["key_value_heads"]) // int(self.fields["heads"])

    def seen(self, position: int, count: int) -> range:
        """The positions that one reads; `count` of them are computed together."""
        return range(min(position + 1, count))

    def mixture(self, query: Row, keys: list[Row], values: list[Row]) -> Row:
        """A-24 to A-26: values by the shares that softmax gives to the scores."""
        scaled = [multiply(one, self.factor(len(query))) for one in query]
        scores = [dot(scaled, key) for key in keys]
        raised = [exponential(subtract(score, max(scores))) for score in scores]
        whole = total(Fraction(one) for one in raised)
        shares = [divide(one, whole) for one in raised]
        return [dot(shares, column) for column in zip(*values, strict=True)]

    def factor(self, width: int) -> float:
        """What scores are multiplied by."""
        return reciprocal_root(width)

    def rotated(self, head: Row, position: int) -> Row:
        """A-23: each pair turned by its angle."""
        width, found = len(head), list(head)
        for pair in range(width // 2):
            one, other = self.places(pair, width)
            angle = position * Fraction(frequency(self.fields["rope_theta"], pair, width))
            cos, sin = cosine(angle), sine(angle)
            a, b = head[one], head[other]
            found[one] = subtract(multiply(a, cos), multiply(b, sin))
            found[other] = add(multiply(b, cos), multiply(a, sin))
        return found

    def places(self, pair: int, width: int) -> tuple[int, int]:
        """Which two elements of a head turn together."""
        if self.fields["rope_style"] == "interleaved":
            return 2 * pair, 2 * pair + 1
        return pair, pair + width // 2

    def network(self, x: Row, place: str) -> Row:
        """The gated network."""
        gate = mapped(x, self.tensors[f"{place}.ffn_gate.weight"])
        up = mapped(x, self.tensors[f"{place}.ffn_up.weight"])
        bent = [multiply(self.bent(g), u) for g, u in zip(gate, up, strict=True)]
        return mapped(bent, self.tensors[f"{place}.ffn_down.weight"])

    def bent(self, x: float) -> float:
        """A-27: SiLU."""
        return divide(x, add(exponential(-x), 1.0))


def mapped(x: Row, weights: Matrix) -> Row:
    """A-22: a linear map, its weights [outputs, inputs]."""
    return [dot(x, row) for row in weights]


def added(left: Row, right: Row) -> Row:
    """Two rows, element by element."""
    return [add(one, other) for one, other in zip(left, right, strict=True)]


def cut(row: Row, width: int) -> list[Row]:
    """A row in heads."""
    return [row[at : at + width] for at in range(0, len(row), width)]
