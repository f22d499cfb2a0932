"""How far the logits of a llama in any binary32 arithmetic may lie from the exact ones.

Every number is a ball: a value over the reals, and a radius within which an engine's number lies
whatever the order of its sums, with or without fused products. Exponentials, sines and powers of
an engine may be off by 4 units in the last place (S-16 of `conformance/SPEC.md`), every other step
rounds once. Radii are computed in binary64 and widened by more than what that rounds away.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from conformance.oracle.llama import Llama

__all__ = ["Ball", "BoundedLlama", "decided"]

ROUNDING = 2.0**-24
LIBRARY = 8 * ROUNDING
WIDER = 1 + 2.0**-20
"""Covers terms of second order, and what binary64 loses in values and radii."""

LEAST = 2.0**-100
"""More than all that underflow takes from one sum."""


class Ball(NamedTuple):
    """A number over the reals and how far an engine's may lie from it."""

    value: float
    radius: float = 0.0

    @property
    def size(self) -> float:
        """The largest magnitude in the ball."""
        return abs(self.value) + self.radius


Balls = list[Ball]


def rounded(value: float, radius: float, count: float = 1) -> Ball:
    """A number with a radius that rounds so many times more."""
    size = abs(value) + radius
    return Ball(value, (radius + count * ROUNDING * size) * WIDER + LEAST)


def dot(left: Sequence[Ball], right: Sequence[Ball]) -> Ball:
    """A sum of products in any order: as many roundings as it has terms."""
    both = list(zip(left, right, strict=True))
    value = math.fsum(a.value * b.value for a, b in both)
    inherited = sum(abs(a.value) * b.radius + a.radius * b.size for a, b in both)
    own = len(both) * ROUNDING * sum(a.size * b.size for a, b in both)
    return Ball(value, (inherited + own) * WIDER + LEAST)


def product(a: Ball, b: Ball) -> Ball:
    """A product, which rounds once."""
    return rounded(a.value * b.value, abs(a.value) * b.radius + a.radius * b.size)


def total(a: Ball, b: Ball) -> Ball:
    """A sum of two, which rounds once."""
    return rounded(a.value + b.value, a.radius + b.radius)


def quotient(a: Ball, b: Ball) -> Ball:
    """A quotient, or a product with the reciprocal; the divisor is positive in all of its ball."""
    value = a.value / b.value
    least = b.value - b.radius
    return rounded(value, (a.radius + abs(value) * b.radius) / least, 2)


def raised(x: Ball) -> Ball:
    """An exponential."""
    value = math.exp(x.value)
    return rounded(value, value * math.expm1(x.radius), LIBRARY / ROUNDING)


class BoundedLlama(Llama):
    """The plain model in balls."""

    def logits(self, tokens: Sequence[int]) -> list[Balls]:
        """A row for each token."""
        embedding = self.rows("token_embd.weight")
        x = [embedding[token] for token in tokens]
        for layer in range(self.fields["layers"]):
            x = self.bounded_layer(x, f"blk.{layer}")
        return [mapped(self.bounded_norm(row, "output_norm"), embedding) for row in x]

    def rows(self, name: str) -> list[Balls]:
        """Weights, which every engine decodes exactly."""
        return [[Ball(one) for one in row] for row in self.tensors[name]]

    def bounded_layer(self, x: list[Balls], place: str) -> list[Balls]:
        """Attention and the network, each added to what it was computed from."""
        back = self.rows(f"{place}.attn_output.weight")
        mixed = self.bounded_attention(
            [self.bounded_norm(r, f"{place}.attn_norm") for r in x], place
        )
        x = [list(map(total, r, mapped(m, back))) for r, m in zip(x, mixed, strict=True)]
        found = []
        for row in x:
            bent = self.bounded_network(self.bounded_norm(row, f"{place}.ffn_norm"), place)
            found.append(list(map(total, row, bent)))
        return found

    def bounded_norm(self, x: Balls, name: str) -> Balls:
        """X over the root of its mean square and epsilon, times a weight."""
        squares = dot(x, x)
        mean = squares.value / len(x) + self.fields["norm_epsilon"]
        root = math.sqrt(mean)
        least = mean - squares.radius / len(x)
        divisor = rounded(root, squares.radius / len(x) / (2 * math.sqrt(least)), 8)
        (weight,) = self.rows(f"{name}.weight")
        return [product(quotient(one, divisor), w) for one, w in zip(x, weight, strict=True)]

    def bounded_attention(self, x: list[Balls], place: str) -> list[Balls]:
        """Each token's heads side by side."""
        width = self.fields["head_width"]

        def heads(one: str) -> list[list[Balls]]:
            weights = self.rows(f"{place}.attn_{one}.weight")
            rows = [mapped(row, weights) for row in x]
            return [[r[at : at + width] for at in range(0, len(r), width)] for r in rows]

        queries, keys, values = heads("q"), heads("k"), heads("v")
        for turned in (queries, keys):
            for position, row in enumerate(turned):
                turned[position] = [self.bounded_turn(head, position) for head in row]
        found = []
        for position, row in enumerate(queries):
            mixed: Balls = []
            for number, query in enumerate(row):
                group, seen = self.group(number), self.seen(position, len(x))
                mixed += mixture(
                    query, [keys[s][group] for s in seen], [values[s][group] for s in seen]
                )
            found.append(mixed)
        return found

    def bounded_turn(self, head: Balls, position: int) -> Balls:
        """Each pair turned by its angle, whose frequency and product round too."""
        found = list(head)
        for pair in range(len(head) // 2):
            one, other = self.places(pair, len(head))
            angle = position * self.fields["rope_theta"] ** (-2 * pair / len(head))
            slack = LIBRARY + (LIBRARY + 2 * ROUNDING) * angle
            cos, sin = Ball(math.cos(angle), slack), Ball(math.sin(angle), slack)
            a, b = head[one], head[other]
            found[one] = total(product(a, cos), product(b, Ball(-sin.value, slack)))
            found[other] = total(product(b, cos), product(a, sin))
        return found

    def bounded_network(self, x: Balls, place: str) -> Balls:
        """The gated network; SiLU's slope is nowhere above 1.1."""
        gate = mapped(x, self.rows(f"{place}.ffn_gate.weight"))
        up = mapped(x, self.rows(f"{place}.ffn_up.weight"))
        bent = [
            rounded(g.value / (1 + math.exp(-g.value)), 1.1 * g.radius, LIBRARY / ROUNDING + 3)
            for g in gate
        ]
        return mapped(list(map(product, bent, up)), self.rows(f"{place}.ffn_down.weight"))


def mapped(x: Balls, weights: list[Balls]) -> Balls:
    """A linear map."""
    return [dot(x, row) for row in weights]


def mixture(query: Balls, keys: list[Balls], values: list[Balls]) -> Balls:
    """Values by the shares that softmax gives to the scores."""
    factor = rounded(1 / math.sqrt(len(query)), 0.0, 2)
    scores = [product(dot(query, key), factor) for key in keys]
    top = max(scores, key=lambda score: score.value)
    shares = [raised(total(score, Ball(-top.value, top.radius))) for score in scores]
    whole = dot(shares, [Ball(1.0)] * len(shares))
    return [
        dot([quotient(s, whole) for s in shares], column) for column in zip(*values, strict=True)
    ]


def decided(row: Balls) -> bool:
    """Whether the largest number of a row is above all others in any arithmetic."""
    top = max(range(len(row)), key=lambda place: row[place].value)
    others = (one.value + one.radius for place, one in enumerate(row) if place != top)
    return row[top].value - row[top].radius > max(others)
