"""Llamas that do one step otherwise: the suite's plain model with one method replaced."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np

from conformance.mutants import OperationMutant
from conformance.oracle.binary import add, divide, f32, multiply, square_root, subtract
from conformance.oracle.functions import total
from conformance.oracle.llama import Llama, Row
from conformance.plain_model import model_of
from refquant.conformance.operations import Arrays, Task

__all__ = ["MUTANTS"]


class OtherPairs(Llama):
    def places(self, pair: int, width: int) -> tuple[int, int]:
        return pair, pair + width // 2


class Backwards(Llama):
    def rotated(self, head: Row, position: int) -> Row:
        return super().rotated(head, -position)


class FromOne(Llama):
    def rotated(self, head: Row, position: int) -> Row:
        return super().rotated(head, position + 1)


class EpsilonOutside(Llama):
    def root(self, mean: float) -> float:
        return add(square_root(mean), f32(self.fields["norm_epsilon"]))


class NoEpsilon(Llama):
    def root(self, mean: float) -> float:
        return square_root(mean)


class Centred(Llama):
    def norm(self, x: Row, name: str) -> Row:
        mean = multiply(total(map(Fraction, x)), divide(1.0, len(x)))
        return super().norm([subtract(one, mean) for one in x], name)


class OnePlusWeight(Llama):
    def norm(self, x: Row, name: str) -> Row:
        plain = super().norm(x, name)
        (weight,) = self.tensors[f"{name}.weight"]
        return [divide(multiply(y, add(1.0, w)), w) for y, w in zip(plain, weight, strict=True)]


class OtherGroups(Llama):
    def group(self, head: int) -> int:
        return head % int(self.fields["key_value_heads"])


class NoMask(Llama):
    def seen(self, position: int, count: int) -> range:
        return range(max(position + 1, count))


class Unscaled(Llama):
    def factor(self, width: int) -> float:
        return divide(width, width)


class ScaledByWidth(Llama):
    def factor(self, width: int) -> float:
        return divide(1.0, width)


class Gelu(Llama):
    def bent(self, x: float) -> float:
        return f32(x * (math.erf(x * math.sqrt(0.5)) + 1) / 2)


class Swapped(Llama):
    def network(self, x: Row, place: str) -> Row:
        gate, up = f"{place}.ffn_gate.weight", f"{place}.ffn_up.weight"
        exchanged = {gate: self.tensors[up], up: self.tensors[gate]}
        return Llama(self.fields, {**self.tensors, **exchanged}).network(x, place)


WRONG: dict[str, tuple[type[Llama], str]] = {
    "rope-other-pairs": (OtherPairs, "halves of a head turn together where neighbours should"),
    "rope-backwards": (Backwards, "positions turn the other way"),
    "rope-from-one": (FromOne, "the first position is 1"),
    "epsilon-outside-the-root": (EpsilonOutside, "epsilon is added to the root"),
    "without-epsilon": (NoEpsilon, "no epsilon in the norm"),
    "norm-subtracts-the-mean": (Centred, "the norm is taken of x less its mean"),
    "norm-weight-plus-one": (OnePlusWeight, "the norm's weight is added to 1, as in Gemma"),
    "other-key-value-head": (OtherGroups, "head m reads m modulo the heads of keys"),
    "sees-later-tokens": (NoMask, "no mask: every token reads all"),
    "scores-unscaled": (Unscaled, "scores are not divided by the root of the width"),
    "scores-over-width": (ScaledByWidth, "scores are divided by the width, not by its root"),
    "gelu-for-silu": (Gelu, "GELU bends the gate"),
    "gate-and-up-exchanged": (Swapped, "the gate's matrix and the other are exchanged"),
}


def _mutant(name: str, kind: type[Llama], change: str) -> OperationMutant:
    def compute(task: Task) -> Arrays:
        states = model_of(Path(task.params["file"]), kind).states(task.inputs["tokens"].tolist())
        return {place: np.array(rows, np.float32) for place, rows in states.items()}

    return OperationMutant(f"model-{name}", "model", change, compute)


MUTANTS = tuple(_mutant(name, *wrong) for name, wrong in WRONG.items())
