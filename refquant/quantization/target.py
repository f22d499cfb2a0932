"""A recipe that makes a file as large as is wanted: more bits where they take away most error.

For every matrix and every candidate scheme that fits it, some of its rows are quantized and the
relative squared error e = sum (w - w')**2 / sum w**2 is measured. A matrix of n weights then costs
n e, and four times that where it is the embedding or the output head, whose errors reach every
token undiluted. Every matrix begins with its smallest scheme; then, as long as there is room, the
step to a larger one is taken that lowers the sum of costs most for each byte that it adds. Steps
follow the lower convex hull of each matrix, so no step is worse than one that comes after it, and
the result is that of Lagrange's method up to the last step that fits.

Nothing is random: the same model and target give the same recipe.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import plan_checkpoint
from refquant.formats.rq.limits import ALIGNMENT, align
from refquant.formats.rq.plan import outline
from refquant.formats.rq.preamble import ENTRY_BYTES, PREAMBLE_BYTES
from refquant.recipe import KEEP, Assignment, Recipe, Rule, assign
from refquant.recipe.assignment import subject
from refquant.schemes import scheme as find_scheme
from refquant.schemes.storage import layout_of
from refquant.tensor import quantize

__all__ = ["CANDIDATES", "Choice", "Reach", "Target", "target_recipe"]

CANDIDATES: Final = (
    "ggml/q2_k",
    "ggml/q3_k",
    "ggml/q4_k",
    "ggml/q5_k",
    "ggml/q6_k",
    "ggml/q8_0",
    "ggml/q4_0",
    "ggml/q5_0",
)
"""Tried where a shape fits them; K-quants want rows of a multiple of 256 weights, others of 32."""

ENDS: Final = 4.0
"""How much more an error in the embedding or the output head counts."""

SAMPLE: Final = 1 << 14
"""Weights of a matrix that are measured, whole rows evenly from all of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A matrix under a scheme: its bytes, and what its error costs."""

    scheme: str
    nbytes: int
    cost: float
    error: float


@dataclass(frozen=True, slots=True)
class Target:
    """How large the result may be: in bytes of a raw file, or in bits for each weight."""

    nbytes: int | None = None
    bits: float | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """The smallest and the largest result that there can be, and the one that was chosen."""

    smallest: int
    largest: int
    chosen: int
    weights: int


RECORD: Final = 16 << 10
"""Room for what the header says of source, recipe and schemes."""


def target_recipe(
    checkpoint: Checkpoint,
    target: Target,
    *,
    candidates: Sequence[str] = CANDIDATES,
    before: Sequence[Rule] = (),
    progress: Callable[[str, int], None] | None = None,
) -> tuple[Recipe, Reach]:
    """The recipe whose result is the best below the target, and what can be reached.

    Rules `before` decide first. Raises `UsageError` with the smallest reachable figure for a
    target below it.
    """
    fixed = assign(checkpoint, Recipe(rules=(*before, Rule(scheme=KEEP, match=UNTOUCHED))))
    free = [one for one in fixed if one.rule is None and len(one.shape) > 1]
    weights = sum(one.weights for one in fixed)
    beside = 0 if target.nbytes is None else _bytes_beside(checkpoint)
    rest = beside + sum(one.nbytes for one in fixed) - sum(one.nbytes for one in free)
    low = rest + sum(_least(one, candidates) for one in free)
    high = rest + sum(one.nbytes for one in free)
    most = target.nbytes if target.nbytes is not None else int((target.bits or 0) * weights / 8)
    if low > most:
        raise UsageError(_out_of_reach(target, Reach(low, high, 0, weights), candidates))
    hulls: dict[str, list[Choice]] = {}
    for one in free:
        hulls[one.tensor] = _hull(_choices(checkpoint, one.tensor, candidates))
        if progress is not None:
            progress(one.tensor, one.weights)
    # A smallest scheme may err more than a larger one, and be no choice at all.
    smallest = rest + sum(hull[0].nbytes for hull in hulls.values())
    if smallest > most:
        raise UsageError(_out_of_reach(target, Reach(smallest, high, 0, weights), candidates))
    chosen = _spent(hulls, most - smallest)
    total = rest + sum(choice.nbytes for choice in chosen.values())
    recipe = Recipe(rules=(*before, *_rules(chosen)), name=_name(target))
    return recipe, Reach(smallest, high, total, weights)


UNTOUCHED: Final = (
    r".*(norm\w*\.(weight|bias)|ffn_gate_inp\w*\.(weight|bias)|position_embd|token_types).*|.*bias"
)
"""Left alone: norms, routers, positions and biases have few weights, and errors there cost much."""


def _least(one: Assignment, candidates: Sequence[str]) -> int:
    """The fewest bytes that a matrix can take."""
    fitting = (
        layout_of(scheme).nbytes(one.shape)
        for scheme in map(find_scheme, candidates)
        if scheme.why_not(one.shape) is None
    )
    return min([one.nbytes, *fitting])


def _bytes_beside(checkpoint: Checkpoint) -> int:
    """A bound for what a raw file of the model holds beside its tensors' bytes."""
    content = outline(plan_checkpoint(checkpoint), None)
    texts = sum(align(len(document.data)) for document in content.documents)
    names = sum(len(name.encode()) for name in checkpoint.tensors)
    room = PREAMBLE_BYTES + (ENTRY_BYTES + ALIGNMENT) * content.segments
    # Names come once more in the record of the recipe, with a backslash before each point.
    return room + len(content.header) + texts + 2 * names + RECORD


def _choices(checkpoint: Checkpoint, name: str, candidates: Sequence[str]) -> list[Choice]:
    """What a matrix can become, and what it is; measured on some of its rows."""
    found = subject(checkpoint.tensors, name)
    rows = _sampled(checkpoint, name, found.shape)
    energy = _energy(rows)
    importance = ENDS if found.role in ("embedding", "head") else 1.0
    weights = prod(found.shape)
    stay = found.layout.nbytes(found.shape)
    choices = [Choice(KEEP, stay, 0.0, 0.0)]
    for candidate in candidates:
        scheme = find_scheme(candidate)
        if layout_of(scheme) == layout_of(found.scheme) or scheme.why_not(found.shape) is not None:
            continue
        if (nbytes := layout_of(scheme).nbytes(found.shape)) >= stay:
            continue
        error = _energy(rows - quantize(rows, scheme).dequantize()) / energy if energy else 0.0
        choices.append(Choice(scheme.name, nbytes, importance * weights * error, error))
    return choices


def _sampled(
    checkpoint: Checkpoint, name: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:  # -> f32[n, k]
    """Some rows of a matrix, evenly from all of them."""
    count = max(SAMPLE // shape[-1], 1)
    tensor = checkpoint.tensors[name]
    if len(shape) == 2 and not tensor.scheme.operators:
        rows = shape[0]
        return tensor.take(np.unique(np.linspace(0, rows - 1, min(count, rows)).astype(np.int64)))
    flat = tensor.dequantize().reshape(-1, shape[-1])
    return np.ascontiguousarray(flat[:: max(len(flat) // count, 1)][:count])


def _energy(x: NDArray[np.float32]) -> float:
    wide = x.astype(np.float64).reshape(-1)
    return float(wide @ wide)


def _hull(choices: Sequence[Choice]) -> list[Choice]:
    """The lower convex hull of costs over bytes, from the smallest choice to the best."""
    hull: list[Choice] = []
    for one in sorted(choices, key=lambda choice: (choice.nbytes, choice.cost)):
        if hull and one.cost >= hull[-1].cost:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], one):
            hull.pop()
        hull.append(one)
    return hull


def _slope(small: Choice, large: Choice) -> float:
    """Cost that goes away for each byte that is added."""
    return (small.cost - large.cost) / (large.nbytes - small.nbytes)


def _spent(hulls: Mapping[str, list[Choice]], room: int) -> dict[str, Choice]:
    """The choices after the best steps that there is room for."""
    chosen = {name: hull[0] for name, hull in hulls.items()}
    blocked: set[str] = set()
    for _, name, step in sorted(_steps(hulls), key=lambda one: (-one[0], one[1])):
        added = step.nbytes - chosen[name].nbytes
        if name in blocked or added > room:
            # A later step of the same matrix builds on this one.
            blocked.add(name)
            continue
        chosen[name] = step
        room -= added
    return chosen


def _steps(hulls: Mapping[str, list[Choice]]) -> Iterator[tuple[float, str, Choice]]:
    for name, hull in hulls.items():
        for small, large in pairwise(hull):
            yield _slope(small, large), name, large


def _rules(chosen: Mapping[str, Choice]) -> list[Rule]:
    """One rule for each scheme, with the names of its tensors."""
    groups: dict[str, list[str]] = {}
    for name, choice in chosen.items():
        groups.setdefault(choice.scheme, []).append(name)
    return [
        Rule(scheme=scheme, match="|".join(map(re.escape, names)), why="chosen for the target")
        for scheme, names in sorted(groups.items())
    ]


def _name(target: Target) -> str:
    if target.nbytes is not None:
        return f"at most {target.nbytes} bytes"
    return f"at most {target.bits:g} bits for each weight"


def _out_of_reach(target: Target, reach: Reach, candidates: Sequence[str]) -> str:
    if target.nbytes is not None:
        wanted, low, high = (_megabytes(n) for n in (target.nbytes, reach.smallest, reach.largest))
    else:
        bits = (8 * n / reach.weights for n in (reach.smallest, reach.largest))
        wanted = f"{target.bits:g} bits for each weight"
        low, high = (f"{one:.4g}" for one in bits)
    return (
        f"a target of {wanted} cannot be reached: from {low} to {high} can, with "
        f"{', '.join(candidates)}; name smaller schemes with --candidates, or a larger target"
    )


def _megabytes(nbytes: int) -> str:
    # Rounded up, so that what is told can be asked for.
    return f"{ceil(nbytes / 1e4) / 100:.2f} MB"
