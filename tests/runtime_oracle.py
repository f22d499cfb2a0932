"""The llama forward pass again, slowly, in float64, with a bound on every number's float32 error.

Written from the formulas of `spec/arch/llama.md`, one token and one head at a time, and sharing no
code with the package. A number is kept as an affine form

    value + sum over s of slope[s] * e[s],    |e[s]| <= 1:

`value` is exact (float64 stands for exact), and every operation has a symbol e[s] of its own for
the rounding that a float32 evaluation may commit and for what is not linear in earlier errors.
Where errors cancel on their way through the network, the slopes cancel as well, which interval
arithmetic cannot see. `radius` = sum |slope| is then a bound that no float32 evaluation of these
formulas leaves:

- one operation rounds by at most u = 2**-24 of its result, or 2**-150 where that underflows;
- a sum of n products errs by at most gamma(n) * sum |x| |w|, gamma(n) = n u / (1 - n u), in every
  order and with or without fused multiply-add (Higham, Accuracy and Stability, section 3.1);
- float32 `exp` is within EXP_ULPS units in the last place (test_runtime_ops.py measures it);
- a convex or concave function lies within its tangent's distance at the two ends of the ball.

So the bound is derived and not chosen: an implementation outside of it computes another formula.
"""

from dataclasses import dataclass

import numpy as np

from tests.roundings import SINGLE as U
from tests.roundings import gamma

UNDERFLOW = 2.0**-150
EXP_ULPS = 4


@dataclass(frozen=True, slots=True)
class Numbers:
    """A vector of affine forms: value f64[n], slope f64[n, s]."""

    value: np.ndarray
    slope: np.ndarray

    @property
    def radius(self):
        return np.abs(self.slope).sum(axis=1)

    @property
    def reach(self):
        return np.abs(self.value) + self.radius

    def __len__(self):
        return len(self.value)

    def __getitem__(self, index):
        return Numbers(self.value[index], self.slope[index])

    def __neg__(self):
        return Numbers(-self.value, -self.slope)


def join(parts):
    values, slopes = [part.value for part in parts], [part.slope for part in parts]
    return Numbers(np.concatenate(values), np.concatenate(slopes))


def repeat(x, count):
    return x[np.zeros(count, int)]


class Arithmetic:
    """Float32 operations on affine forms; `capacity` is how many errors may arise in all."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.used = 0

    def constant(self, values, relative=0.0):
        """Numbers that are given, each with its own relative error."""
        values = np.atleast_1d(np.asarray(values, np.float64))
        exact = Numbers(values, np.zeros((len(values), self.capacity)))
        return exact if relative == 0.0 else self._err(exact, relative * np.abs(values))

    def _err(self, x, magnitudes):
        """The same numbers with one fresh error symbol each."""
        start, stop = self.used, self.used + len(x)
        assert stop <= self.capacity, "more errors than the arithmetic was made for"
        self.used = stop
        slope = x.slope.copy()
        slope[np.arange(len(x)), np.arange(start, stop)] += magnitudes
        return Numbers(x.value, slope)

    def _round(self, x, beyond, roundings=1):
        """Rounding of numbers whose terms of higher order are within `beyond`."""
        return self._err(x, beyond + gamma(roundings) * (x.reach + beyond) + UNDERFLOW)

    def add(self, x, y):
        return self._round(Numbers(x.value + y.value, x.slope + y.slope), 0.0)

    def _product(self, x, y):
        """Element by element, before rounding, and a bound on what is not linear."""
        slope = x.value[:, None] * y.slope + y.value[:, None] * x.slope
        return Numbers(x.value * y.value, slope), x.radius * y.radius

    def multiply(self, x, y):
        return self._round(*self._product(x, y))

    def dot(self, x, y):
        """One number: the sum of products, in any order."""
        terms, beyond = self._product(x, y)
        whole = Numbers(terms.value.sum(keepdims=True), terms.slope.sum(axis=0, keepdims=True))
        rounding = gamma(len(x)) * (x.reach @ y.reach) + len(x) * UNDERFLOW
        return self._err(whole, beyond.sum() + rounding)

    def linear(self, x, matrix):
        """matrix f64[n, k] without errors, x [k] -> [n]."""
        k = matrix.shape[1]
        exact = Numbers(matrix @ x.value, matrix @ x.slope)
        return self._err(exact, gamma(k) * (np.abs(matrix) @ x.reach) + k * UNDERFLOW)

    def function(self, f, derivative, x, roundings=1):
        """A convex or concave function: tangent, and the larger distance from it at the ends."""
        value, steepness, radius = f(x.value), derivative(x.value), x.radius
        high = np.abs(f(x.value + radius) - value - steepness * radius)
        low = np.abs(f(x.value - radius) - value + steepness * radius)
        tangent = Numbers(value, steepness[:, None] * x.slope)
        return self._round(tangent, np.maximum(high, low), roundings)

    def divide(self, x, y):
        """x / y for y above zero; one rounding, because 1 / y is not rounded by itself."""
        assert np.all(y.value > y.radius), "a divisor may be zero"
        inverse = Numbers(1 / y.value, -y.slope / y.value[:, None] ** 2)
        distance = 1 / (y.value - y.radius) - 1 / y.value - y.radius / y.value**2
        product, beyond = self._product(x, inverse)
        return self._round(product, beyond + x.reach * distance)

    def exp(self, x):
        return self.function(np.exp, np.exp, x, roundings=2 * EXP_ULPS)


class Llama:
    """The formulas; `tensors` maps names to arrays, `fields` are the architecture's."""

    def __init__(self, tensors, fields, capacity):
        self.tensors = {name: np.float64(tensor) for name, tensor in tensors.items()}
        self.fields = fields
        self.f32 = Arithmetic(capacity)

    def forward(self, tokens):
        """tokens int[t] -> one Numbers of the vocabulary's length for each."""
        embedding = self.tensors["token_embd.weight"]
        output = embedding if self.fields["tied_embeddings"] else self.tensors["output.weight"]
        states = [self.f32.constant(embedding[token]) for token in tokens]
        for layer in range(self.fields["layers"]):
            states = self._block(states, f"blk.{layer}.")
        normal = [self._rms_norm(x, "output_norm.weight") for x in states]
        return [self.f32.linear(x, output) for x in normal]

    def _block(self, states, block):
        mixed = self._attention(
            [self._rms_norm(x, f"{block}attn_norm.weight") for x in states], block
        )
        states = [self.f32.add(x, y) for x, y in zip(states, mixed, strict=True)]
        normal = [self._rms_norm(x, f"{block}ffn_norm.weight") for x in states]
        return [
            self.f32.add(x, self._feed_forward(y, block))
            for x, y in zip(states, normal, strict=True)
        ]

    def _rms_norm(self, x, name):
        weight = self.tensors[name]
        # 1 / d and epsilon are float32 constants, off by at most u themselves.
        part = self.f32.constant(1 / len(weight), U)
        epsilon = self.f32.constant(self.fields["norm_epsilon"], U)
        mean_square = self.f32.multiply(self.f32.dot(x, x), part)
        root = self.f32.function(
            np.sqrt, lambda v: 0.5 / np.sqrt(v), self.f32.add(mean_square, epsilon)
        )
        normal = self.f32.divide(x, repeat(root, len(weight)))
        return self.f32.multiply(normal, self.f32.constant(weight))

    def _attention(self, normal, block):
        queries = [self._heads(x, f"{block}attn_q.weight", at) for at, x in enumerate(normal)]
        keys = [self._heads(x, f"{block}attn_k.weight", at) for at, x in enumerate(normal)]
        values = [self._heads(x, f"{block}attn_v.weight", None) for x in normal]
        per_key = self.fields["heads"] // self.fields["key_value_heads"]
        outputs = []
        for at, query in enumerate(queries):
            mixed = [
                self._attend(
                    query[head],
                    [key[head // per_key] for key in keys[: at + 1]],
                    [value[head // per_key] for value in values[: at + 1]],
                )
                for head in range(self.fields["heads"])
            ]
            outputs.append(self.f32.linear(join(mixed), self.tensors[f"{block}attn_output.weight"]))
        return outputs

    def _heads(self, x, name, position):
        width = self.fields["head_width"]
        whole = self.f32.linear(x, self.tensors[name])
        heads = [whole[start : start + width] for start in range(0, len(whole), width)]
        return heads if position is None else [self._rotate(head, position) for head in heads]

    def _rotate(self, x, position):
        """Pair i turns by position * theta ** (-2 i / d)."""
        width = len(x)
        turned = [None] * width
        for i in range(width // 2):
            if self.fields["rope_style"] == "interleaved":
                first, second = 2 * i, 2 * i + 1
            else:
                first, second = i, i + width // 2
            angle = position * self.fields["rope_theta"] ** (-2 * i / width)
            pair = join([x[first : first + 1], x[second : second + 1]])
            cosine, sine = np.cos(angle), np.sin(angle)
            turned[first] = self.f32.dot(pair, self.f32.constant([cosine, -sine], U))
            turned[second] = self.f32.dot(pair, self.f32.constant([sine, cosine], U))
        return join(turned)

    def _attend(self, query, keys, values):
        """softmax(query . keys / sqrt(d)) @ values, over the positions given."""
        scale = self.f32.constant(np.full(len(query), len(query) ** -0.5), U)
        scaled = self.f32.multiply(query, scale)
        scores = join([self.f32.dot(scaled, key) for key in keys])
        largest = scores[[int(np.argmax(scores.value))]]
        powers = self.f32.exp(self.f32.add(scores, -repeat(largest, len(keys))))
        whole = self.f32.dot(powers, self.f32.constant(np.ones(len(keys))))
        weights = self.f32.divide(powers, repeat(whole, len(keys)))
        columns = [join([value[[element]] for value in values]) for element in range(len(query))]
        return join([self.f32.dot(weights, column) for column in columns])

    def _feed_forward(self, x, block):
        gate = self.f32.linear(x, self.tensors[f"{block}ffn_gate.weight"])
        up = self.f32.linear(x, self.tensors[f"{block}ffn_up.weight"])
        one = self.f32.constant(np.ones(len(gate)))
        silu = self.f32.divide(gate, self.f32.add(one, self.f32.exp(-gate)))
        return self.f32.linear(self.f32.multiply(silu, up), self.tensors[f"{block}ffn_down.weight"])


def exact_logits(checkpoint, tokens):
    """Values and bounds, f64[t, v] each."""
    tensors = {name: tensor.dequantize() for name, tensor in checkpoint.tensors.items()}
    fields = checkpoint.architecture.fields
    lengths = fields["width"] + fields["heads"] * fields["head_width"] + fields["feedforward_width"]
    # Every element of a layer takes part in about ten operations.
    slow = Llama(tensors, fields, capacity=12 * lengths * len(tokens) * fields["layers"])
    rows = slow.forward(tokens)
    return np.array([row.value for row in rows]), np.array([row.radius for row in rows])
