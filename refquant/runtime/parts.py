"""A checkpoint's tensors as the parts of `blocks.py`, by the names its architecture gives them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from refquant.architectures import Architecture, FieldValue, family_named
from refquant.formats.checkpoint import Checkpoint
from refquant.runtime.blocks import Affine, Gated, LayerNorm, Norm, RmsNorm
from refquant.runtime.ops import Floats
from refquant.runtime.weights import WeightMode, WeightReader
from refquant.runtime.workers import Crew

__all__ = ["Parts"]


class Parts:
    """One model's parts; `facts` are its fields and the constants of its family.

    The checkpoint's tensors have been checked against the architecture, so a tensor is there if
    and only if the architecture says that such a model has it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Architecture,
        mode: WeightMode,
        crew: Crew | None = None,
    ) -> None:
        family = family_named(architecture.family)
        self.reader = WeightReader(checkpoint, mode, crew)
        self.names = frozenset(family.tensors(architecture.fields))
        self.facts: Mapping[str, FieldValue] = {**family.constants, **architecture.fields}

    def has(self, name: str) -> bool:
        """True if the model has a tensor of this name."""
        return name in self.names

    def count(self, name: str) -> int:
        """A field that is an integer."""
        return int(self.facts[name])

    def number(self, name: str) -> float | None:
        """A field that is a number, or None if the model leaves it out."""
        return float(self.facts[name]) if name in self.facts else None

    def vector(self, name: str) -> Floats | None:
        """A tensor as numbers, or None if the model has no such tensor."""
        return self.reader.vector(name) if self.has(name) else None

    def affine(self, *names: str) -> Affine:
        """The maps of these names, stacked, with their biases if they have any."""
        matrix = self.reader.matrix(*(f"{name}.weight" for name in names))
        if not self.has(f"{names[0]}.bias"):
            return Affine(matrix)
        return Affine(
            matrix, np.concatenate([self.reader.vector(f"{name}.bias") for name in names])
        )

    def gated(self, both: Affine, down: Affine) -> Gated:
        """A network of gate and up, stacked, and the way back down."""
        activation = str(self.facts["activation"])
        matrix = self.reader.gated(both.matrix, activation)
        return Gated(replace(both, matrix=matrix), down, activation)

    def norm(self, name: str) -> Norm:
        """A LayerNorm if there is a bias of this name, else an RmsNorm."""
        weight = self.reader.vector(f"{name}.weight")
        epsilon = float(self.facts["norm_epsilon"])
        bias = self.vector(f"{name}.bias")
        if bias is not None:
            return LayerNorm(weight, bias, epsilon)
        if self.facts.get("norms_less_one", False):
            weight = weight + np.float32(1)
        return RmsNorm(weight, epsilon)

    def optional_norm(self, name: str) -> Norm | None:
        """The same, or None if the model has no such norm."""
        return self.norm(name) if self.has(f"{name}.weight") else None

    def gated_experts(self, block: str) -> tuple[Gated, ...]:
        """The networks that the stacked tensors of a layer hold."""
        gate, up, down = (f"{block}.ffn_{part}_exps" for part in ("gate", "up", "down"))
        stacked = [self.vector(f"{name}.bias") for name in (gate, up, down)]
        inner = self.reader.expert_matrices(f"{gate}.weight", f"{up}.weight")
        outer = self.reader.expert_matrices(f"{down}.weight")
        biases = [
            [None if bias is None else bias[expert] for bias in stacked]
            for expert in range(len(inner))
        ]
        return tuple(
            self.gated(
                Affine(
                    both,
                    None
                    if gate_bias is None or up_bias is None
                    else np.concatenate([gate_bias, up_bias]),
                ),
                Affine(back, down_bias),
            )
            for both, back, (gate_bias, up_bias, down_bias) in zip(
                inner, outer, biases, strict=True
            )
        )
