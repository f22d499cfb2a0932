"""Llamas in float16 or bfloat16: bounds on what an engine may compute that rounds its states.

Engines differ in where they round: some after every operation, some only what one part of a layer
hands to the next. `Narrow` grants a rounding to the narrow type behind every single operation of
`runtime_oracle.py`, besides the binary32 rounding inside; whoever rounds at fewer places stays
within it as well.

A layer is taken link by link, each from what the engine itself put in: a bound for whole layers
would be as wide as their numbers. What an engine computed for a layer is a map of arrays [t, n]:
`before` and `after` the layer, and `q`, `k`, `v`, `o`, `gate`, `up`, `down`, the outputs of its
matrices, with `q_in`, `o_in`, `up_in` and `down_in`, their inputs.
"""

import numpy as np

from tests.runtime_oracle import UNDERFLOW, Arithmetic, Llama, join

UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Largest relative error of a rounding: 8 and 11 bits of significand, ties included."""

SMALLEST = {"bfloat16": UNDERFLOW, "float16": 2.0**-25}
"""Half of the smallest subnormal number; the bfloat16 one is that of binary32, times 2**16."""

MATRICES = {
    "q": "q_in",
    "k": "q_in",
    "v": "q_in",
    "o": "o_in",
    "gate": "up_in",
    "up": "up_in",
    "down": "down_in",
}
NAMES = {
    **{part: f"attn_{part}" for part in "qkv"},
    "o": "attn_output",
    **{part: f"ffn_{part}" for part in ("gate", "up", "down")},
}


class Narrow(Arithmetic):
    """Every result is rounded once more, to a narrow type."""

    def __init__(self, precision, capacity=2000):
        super().__init__(capacity)
        self.unit, self.smallest = UNITS[precision], SMALLEST[precision]

    def _err(self, x, magnitudes):
        magnitudes = np.broadcast_to(magnitudes, len(x))
        reach = x.reach + magnitudes
        return super()._err(x, magnitudes + self.unit * reach + self.smallest)


class NarrowLlama(Llama):
    """The formulas of a llama in a narrow precision."""

    def __init__(self, checkpoint, precision):
        tensors = {name: tensor.dequantize() for name, tensor in checkpoint.tensors.items()}
        super().__init__(tensors, checkpoint.architecture.fields, 0)
        self.precision = precision

    def strays(self, layers, normal, logits):
        """How far each kind of link is off, in units of its bound.

        `normal` is what the output matrix read, `logits` what it wrote.
        """
        worst = {}
        for number, seen in enumerate(layers):
            for kind, found, expected in self._links(seen, f"blk.{number}."):
                self._compare(worst, kind, found, expected)
        for token, state in enumerate(layers[-1]["after"]):
            x = self._fresh(state)
            self._compare(worst, "norm", normal[token], self._rms_norm(x, "output_norm.weight"))
            x = self._fresh(normal[token])
            found = self.f32.linear(x, self.tensors["output.weight"])
            self._compare(worst, "output", logits[token], found)
        return worst

    def _compare(self, worst, kind, found, expected):
        stray = np.max(np.abs(found - expected.value) / expected.radius)
        assert np.isfinite(stray)
        worst[kind] = max(worst.get(kind, 0.0), float(stray))

    def _fresh(self, x):
        """An input that is exact, with no errors before it."""
        self.f32 = Narrow(self.precision)
        return self._exact(x)

    def _exact(self, x):
        return self.f32.constant(np.float64(x))

    def _links(self, seen, block):
        """For each token and link its name, what the engine has, and what it may have."""
        for token in range(len(seen["before"])):
            at = {name: rows[token] for name, rows in seen.items()}
            normal = self._rms_norm(self._fresh(at["before"]), f"{block}attn_norm.weight")
            yield "norm", at["q_in"], normal
            for part, source in MATRICES.items():
                matrix = self.tensors[f"{block}{NAMES[part]}.weight"]
                yield part, at[part], self.f32.linear(self._fresh(at[source]), matrix)
            yield "attention", at["o_in"], self._mixed(seen, token)
            middle = self.f32.add(self._fresh(at["before"]), self._exact(at["o"]))
            yield (
                "norm behind a sum",
                at["up_in"],
                self._rms_norm(middle, f"{block}ffn_norm.weight"),
            )
            middle = self.f32.add(self._fresh(at["before"]), self._exact(at["o"]))
            yield "sum", at["after"], self.f32.add(middle, self._exact(at["down"]))
            gate, up = self._fresh(at["gate"]), self._exact(at["up"])
            below = self.f32.add(self._exact(np.ones(len(gate))), self.f32.exp(-gate))
            yield "gate", at["down_in"], self.f32.multiply(self.f32.divide(gate, below), up)

    def _mixed(self, seen, token):
        """One token's attention, from the outputs of the three matrices."""
        self.f32 = Narrow(self.precision)
        width, groups = self.fields["head_width"], self.fields["key_value_heads"]
        share = self.fields["heads"] // groups

        def head(part, place, number):
            return self._exact(seen[part][place][number * width : (number + 1) * width])

        keys = [
            [self._rotate(head("k", place, group), place) for place in range(token + 1)]
            for group in range(groups)
        ]
        values = [
            [head("v", place, group) for place in range(token + 1)] for group in range(groups)
        ]
        return join(
            [
                self._attend(
                    self._rotate(head("q", token, number), token),
                    keys[number // share],
                    values[number // share],
                )
                for number in range(self.fields["heads"])
            ]
        )
