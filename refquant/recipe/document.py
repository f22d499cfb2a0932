"""The recipe: an ordered list of rules that say which tensor gets which scheme, as a document.

A rule selects tensors by role, by layer, and by a regular expression for the whole name; what it
leaves out selects everything. The first rule that selects a tensor decides about it. Rules that
name neither the role `norm` nor an expression leave norms, biases, routers of experts and vectors
alone.

The same document is written in TOML or JSON:

    recipe = 1
    name = "eight bits, four in the network"
    [[rules]]
    role = ["embedding", "head"]
    scheme = "ggml/q8_0"
    [[rules]]
    role = "feedforward"
    layers = "1-28"
    scheme = "ggml/q4_k"
    [[rules]]
    scheme = "ggml/q6_k"
"""

from typing import Any, Final, Literal

import msgspec

from refquant.recipe.roles import Role

__all__ = ["FALLBACKS", "KEEP", "Algorithm", "Compute", "Recipe", "Rule"]

KEEP: Final = "keep"
"""The name, in place of a scheme's, that leaves tensors as they are."""

FALLBACKS: Final = ("ggml/q8_0", "int/affine[bits=8,sym,channel]")
"""Tried in turn for a shape that the wanted scheme does not fit; the last one fits every matrix."""

Compute = Literal["weight-only", "dynamic", "static"]

Algorithm = Literal[
    "rtn", "percentile", "mse", "octav", "hqq", "imatrix", "gptq", "awq", "smoothquant"
]
"""How codes and scales are chosen; `rtn` is the scheme's own encoder, whose knobs may say more.

From `imatrix` on they learn from a text.
"""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which tensors, and what becomes of them."""

    scheme: str
    """A scheme's name, or `keep`."""

    role: Role | tuple[Role, ...] = ()
    """Roles that are selected; none given: every role."""

    layers: str = ""
    """Layers that are selected, from 0, such as `0-3,29`; none given: all, and what is outside."""

    match: str = ""
    """A regular expression that the whole name must match."""

    minimum_weights: int = 0
    """Tensors with fewer weights are not selected."""

    compute: Compute = "weight-only"
    """How the runtime multiplies: with decoded weights, or integers with activations'."""

    activation: str = ""
    """The contract by which a `dynamic` or `static` rule turns activations into integers."""

    algorithm: Algorithm = "rtn"
    """How codes and scales are chosen."""

    options: dict[str, bool | int | float | str] = {}
    """Options of the algorithm, by name."""

    fallback: tuple[str, ...] | None = None
    """Schemes tried for shapes that do not fit, in place of the recipe's."""

    why: str = ""
    """A word to the reader, shown beside the tensors that the rule takes."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The selected roles as a tuple, empty for all."""
        return (self.role,) if isinstance(self.role, str) else self.role


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ordered rules; what no rule selects stays as it is."""

    rules: tuple[Rule, ...]
    recipe: Literal[1] = 1
    """The version of this document's language."""

    name: str = ""
    precision: Literal["", "float32", "float16", "bfloat16"] = ""
    """The type of the model's own numbers, for tensors that no rule selects; empty: as they are."""

    rotation: Literal["", "hadamard"] = ""
    """In which coordinates the layers speak to each other; empty: in those of the source."""

    fallback: tuple[str, ...] = FALLBACKS

    def to_data(self) -> dict[str, Any]:
        """The document as plain data, without what has its default value."""
        return {"recipe": self.recipe, **msgspec.to_builtins(self)}
