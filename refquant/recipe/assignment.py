"""Which tensor of a model gets which scheme, decided before any weight is read.

`assign` walks the rules of a recipe in order; the first that selects a tensor decides, and its
reason stays with the tensor. A scheme that a tensor's shape does not fit gives way to a fallback,
and the reason says so.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

from refquant.driver import Scheme
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq.read import StoredTensors
from refquant.recipe.document import KEEP, Algorithm, Compute, Recipe, Rule
from refquant.recipe.roles import Role, is_router, layer_of, role_of
from refquant.schemes import scheme as find_scheme
from refquant.schemes.storage import AnyLayout, layout_of
from refquant.tensor import QuantizedTensor

__all__ = ["Assignment", "Assignments", "Subject", "assign", "subject"]

FLOATS: Final = ("float/f32", "float/f16", "float/bf16")
"""Schemes of weights that nobody has quantized yet."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What becomes of one tensor, and why.

    Schemes are names; `nbytes` is what the tensor takes under the target scheme. A tensor whose
    two schemes are the same is carried over byte for byte. `is_requantized` says that codes are
    replaced by other codes, so that two rounding errors add up. `rule` is the index of the rule
    that took the tensor, None where none did. Weights are rounded to `precision`, if there is one,
    before their codes are chosen.
    """

    tensor: str
    shape: tuple[int, ...]
    source_scheme: str
    target_scheme: str
    reason: str
    nbytes: int
    is_requantized: bool = False
    is_fallback: bool = False
    rule: int | None = None
    compute: Compute = "weight-only"
    activation: str = ""
    algorithm: Algorithm = "rtn"
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""

    @property
    def weights(self) -> int:
        """How many weights the tensor has."""
        return prod(self.shape)

    @property
    def is_untouched(self) -> bool:
        """Whether the bytes stay as they are."""
        return self.source_scheme == self.target_scheme


class Assignments(tuple[Assignment, ...]):
    """The assignments of all tensors, in the checkpoint's order."""

    __slots__ = ()

    def unused_rules(self, recipe: Recipe) -> tuple[int, ...]:
        """Indices of rules that took no tensor: a misspelt name, or an earlier rule took all."""
        used = {one.rule for one in self}
        return tuple(index for index in range(len(recipe.rules)) if index not in used)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule may know of a tensor."""

    name: str
    shape: tuple[int, ...]
    scheme: Scheme
    layout: AnyLayout

    @property
    def role(self) -> Role:
        """What the tensor does in the model."""
        return role_of(self.name)

    @property
    def is_spared(self) -> str:
        """Why a rule that does not ask for this tensor in particular leaves it alone, or ``."""
        if len(self.shape) < 2:
            return "one axis"
        if self.role == "norm":
            return "norm"
        if self.name.endswith(".bias"):
            return "bias"
        return "router" if is_router(self.name) else ""


def assign(checkpoint: Checkpoint, recipe: Recipe) -> Assignments:
    """The assignment of every stored tensor, in the checkpoint's order."""
    tensors = checkpoint.tensors
    return Assignments(_decide(subject(tensors, name), recipe) for name in tensors)


def subject(tensors: Mapping[str, QuantizedTensor], name: str) -> Subject:
    """What the header tells of a tensor: an `.rq` file need not decompress it for that."""
    if isinstance(tensors, StoredTensors):
        return Subject(name, tensors.shape(name), tensors.scheme(name)[0], tensors.layout(name))
    tensor = tensors[name]
    return Subject(name, tensor.shape, tensor.scheme, tensor.stored_layout)


def selects(rule: Rule, tensor: Subject) -> bool:
    """Whether a rule speaks of a tensor."""
    if rule.roles and tensor.role not in rule.roles:
        return False
    if rule.match and not re.fullmatch(rule.match, tensor.name):
        return False
    if rule.layers and layer_of(tensor.name) not in set(_layers(rule.layers)):
        return False
    if prod(tensor.shape) < rule.minimum_weights:
        return False
    return not tensor.is_spared or bool(rule.match) or "norm" in rule.roles


def _layers(text: str) -> Iterator[int]:
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _decide(tensor: Subject, recipe: Recipe) -> Assignment:
    for index, rule in enumerate(recipe.rules):
        if selects(rule, tensor):
            return _taken(tensor, index, rule, recipe)
    reason = tensor.is_spared or "no rule selects it"
    if recipe.precision and _is_float(tensor.scheme):
        return _cast(tensor, reason, recipe.precision)
    return _kept(tensor, reason)


def _cast(tensor: Subject, reason: str, precision: str) -> Assignment:
    """A tensor that stays a float, in the precision of the model."""
    target = find_scheme(precision)
    kept = replace(_kept(tensor, reason), precision=precision)
    if target.digest == tensor.scheme.digest:
        return kept
    nbytes = layout_of(target).nbytes(tensor.shape)
    return replace(kept, target_scheme=target.name, nbytes=nbytes)


def _kept(tensor: Subject, reason: str) -> Assignment:
    name, nbytes = tensor.scheme.name, tensor.layout.nbytes(tensor.shape)
    return Assignment(tensor.name, tensor.shape, name, name, reason, nbytes)


def _kept_by(tensor: Subject, reason: str, index: int, rule: Rule) -> Assignment:
    """A rule may leave the bytes and still say how they are computed with."""
    kept = _kept(tensor, reason)
    return replace(kept, rule=index, compute=rule.compute, activation=rule.activation)


def _taken(tensor: Subject, index: int, rule: Rule, recipe: Recipe) -> Assignment:
    if rule.scheme == KEEP:
        return _kept_by(tensor, rule.why or "kept as asked", index, rule)
    wanted = find_scheme(rule.scheme)
    target, problem = _fitted(tensor, wanted, rule.fallback or recipe.fallback)
    if target is None:
        return replace(_kept(tensor, problem), rule=index)
    same = layout_of(target) == layout_of(tensor.scheme)
    if same and not problem:
        # The layout decides what the bytes mean, so equal layouts need no new bytes.
        return _kept_by(tensor, "has this scheme already", index, rule)
    if same:
        return replace(_kept(tensor, problem), rule=index)
    return Assignment(
        tensor=tensor.name,
        shape=tensor.shape,
        source_scheme=tensor.scheme.name,
        target_scheme=target.name,
        reason=problem or rule.why or tensor.role,
        nbytes=layout_of(target).nbytes(tensor.shape),
        is_requantized=not (_is_float(tensor.scheme) or _is_float(target)),
        is_fallback=bool(problem),
        rule=index,
        # A fallback is another scheme than the one that the contract was chosen for.
        compute="weight-only" if problem else rule.compute,
        activation="" if problem else rule.activation,
        algorithm="rtn" if problem else rule.algorithm,
        options={} if problem else rule.options,
        precision=recipe.precision,
    )


def _is_float(scheme: Scheme) -> bool:
    """Whether weights are stored as floating-point numbers, under whatever name."""
    return scheme.digest in {find_scheme(name).digest for name in FLOATS}


def _fitted(
    tensor: Subject, wanted: Scheme, fallbacks: tuple[str, ...]
) -> tuple[Scheme | None, str]:
    """The scheme, or the first fallback that the shape fits, and what did not fit."""
    problem = wanted.why_not(tensor.shape)
    if wanted.digest == tensor.scheme.digest or problem is None:
        return wanted, ""
    reason = f"{wanted.name} does not fit: {problem}"
    for name in fallbacks:
        if name == KEEP:
            return None, reason
        fallback = find_scheme(name)
        if fallback.why_not(tensor.shape) is None:
            return fallback, reason
    return None, reason
