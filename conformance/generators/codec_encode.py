"""Packs about writing: weights to planes, in two groups that no tie escapes.

`encode/*` aims each kind of trouble at a scheme by itself; `mixed/*` has all of them in one tensor,
from another seed and with the groups along another axis, so that a mistake shows twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.generators.agreement import check_codes
from conformance.generators.crafted import crafted
from conformance.generators.freedoms import freed
from conformance.generators.names import feature, slug
from conformance.generators.searches import Encoder, encoder_of, is_search
from conformance.generators.writer import PackWriter
from refquant.driver import Scheme
from refquant.errors import ConformanceError, RefquantError
from refquant.layout import field_codes
from refquant.layout.layout import aligned
from refquant.tensor import QuantizedTensor
from refquant.testing import fitting_shape
from refquant.testing.inputs import KINDS, make

__all__ = ["encoded", "mixed"]

F32 = NDArray[np.float32]

SETS: Mapping[str, tuple[Sequence[str], str]] = {
    "ties": (("ties",), "weights in the middle between two codes"),
    "near-ties": (("above ties", "below ties"), "one ulp to each side of the middles"),
    "zeros": (("zeros", "negative zeros", "mixed zeros", "equal"), "zeros of both signs"),
    "extremes": (("opposite extremes", "outlier"), "equal extremes of both signs, an outlier"),
    "usual": (("bell", "heavy tails", "absorbed"), "usual weights, heavy tails, sums that absorb"),
    "small": (("subnormal", "underflow"), "subnormal groups and scales that underflow"),
    "large": (("overflow",), "scales that overflow"),
    "non-finite": (("non-finite",), "NaN and infinities, where the format has a rule for them"),
}
FLAGS = {"ties": "TieRounding", "near-ties": "TieRounding", "zeros": "SignedZero"}
MIXED_SEED = 40
WHOLE = ("ties", "opposite extremes", "heavy tails", "zeros", "outlier", "bell", "below ties")
"""Kinds with a case of their own where a scale is that of the whole tensor."""

TWICE = frozenset({"bell", "heavy tails", "ties", "above ties", "short", "edges of halves"})
"""Kinds that have a second row where one would be enough for the others."""

OFTEN_TOO_LARGE = ("float/f16", "aeq/", "diffulex/", "ggml/q4_0", "ggml/q5_0", "ggml/q8_0")
"""Schemes for which weights too large for a scale, or for a code, come in two groups."""

LARGE = 512
"""Weights in the smallest tensor above which a case has fewer kinds, to keep packs small."""

SHORT = 64
"""Weights in a group above which a large tensor has no mixed case: the same format with shorter
groups has one, which tells the same mistakes."""


def left_out(scheme: Scheme) -> frozenset[str]:
    """Kinds for which the clauses, and so the scalar oracle, define nothing.

    NaN and infinities in ggml's formats are in `freedoms.py`, as far as clauses fix them; its
    searches are defined for sums that do not overflow, and MXFP4's exponent of an amax beyond 2^127
    is the conversion of a number that does not fit, which C leaves open.
    """
    if not scheme.name.startswith("ggml/"):
        return frozenset()
    if is_search(scheme):
        return frozenset({"non-finite", "large", "small"})
    return frozenset({"non-finite", "large"} if scheme.name == "ggml/mxfp4" else {"non-finite"})


def encoded(writer: PackWriter, scheme: Scheme) -> None:
    """Encode cases of one scheme, each kind of trouble by itself."""
    oracle = encoder_of(scheme)
    if oracle is None:
        return
    shape = fitting_shape(scheme, _rows(scheme))
    for label, x, why in crafted(scheme, 1):
        _add(writer, scheme, oracle, x, -1, f"encode.{label}", why, "TieRounding")
    freed(writer, scheme, 1)
    for name, (kinds, why) in SETS.items():
        if (name == "non-finite" and not scheme.non_finite) or name in left_out(scheme):
            continue
        if _whole_tensor(scheme):
            parts = [(f"{name}-{k}" if k else name, [kind]) for k, kind in enumerate(kinds)]
        else:
            parts = [(name, list(kinds[: 1 if prod(shape) > LARGE else None]))]
        for label, members in parts:
            x = np.concatenate([_input(scheme, shape, kind, 1) for kind in members])
            _add(writer, scheme, oracle, x, -1, f"encode.{label}", why, FLAGS.get(name, ""))


def mixed(writer: PackWriter, scheme: Scheme) -> None:
    """One case with every kind of trouble, groups along the first axis where they can be."""
    oracle = encoder_of(scheme)
    if oracle is None:
        return
    for label, x, why in crafted(scheme, 2):
        _add(writer, scheme, oracle, x, -1, f"encode.{label}-again", why, "TieRounding")
    freed(writer, scheme, 2)
    shape = fitting_shape(scheme, _mixed_rows(scheme))
    if prod(shape) >= LARGE and shape[-1] > SHORT:
        return
    kinds = [kind for kind in KINDS if kind not in ("non-finite", "overflow")]
    if prod(shape) > LARGE:
        kinds = ["ties", "above ties", "opposite extremes", "heavy tails"]
    if is_search(scheme):
        kinds = ["zeros", "heavy tails", "above ties", "short", "bell"]
        kinds = kinds[:: 2 if prod(shape) > 128 else 1]
    if _whole_tensor(scheme):
        for k, kind in enumerate(WHOLE):
            x = _input(scheme, (shape[0] + 2, max(shape[1], 16)), kind, MIXED_SEED)
            _add(writer, scheme, oracle, x, -1, f"encode.mixed-{k}", f"{kind}, another seed", "")
        return
    if scheme.name.startswith(OFTEN_TOO_LARGE) and not is_search(scheme):
        x = _input(scheme, shape, "overflow", MIXED_SEED)
        _add(writer, scheme, oracle, x, -1, "encode.large-again", SETS["large"][1], "")
    twice = fitting_shape(scheme, _rows(scheme))
    x = np.concatenate(
        [_input(scheme, twice if k in TWICE else shape, k, MIXED_SEED) for k in kinds]
    )
    turned = np.ascontiguousarray(x.T)
    axis = 0 if x.ndim == 2 and scheme.why_not(turned.shape, 0) is None else -1
    try:
        refquant.quantize(turned if axis == 0 else x, scheme, axis)
    except RefquantError:
        axis = -1
    _add(
        writer, scheme, oracle, turned if axis == 0 else x, axis, "encode.mixed", "all at once", ""
    )


def _rows(scheme: Scheme) -> int:
    """As few rows as show what a scheme does: one of a long group, some of a short one."""
    if scheme.name.startswith("tflite/"):
        return 8  # few of its scales survive a second encoding, and only those have exact ties
    return 1 if fitting_shape(scheme, 1)[-1] > 64 else 2


def _mixed_rows(scheme: Scheme) -> int:
    """One row of each of many kinds, two where rows are short."""
    return 1 if fitting_shape(scheme, 1)[-1] >= 32 else _rows(scheme)


def _whole_tensor(scheme: Scheme) -> bool:
    return len(scheme.group) > 1


def _input(scheme: Scheme, shape: tuple[int, ...], kind: str, seed: int) -> F32:
    return make(scheme, shape, kind, seed + list(KINDS).index(kind))


def _add(
    writer: PackWriter,
    scheme: Scheme,
    oracle: Encoder,
    x: F32,
    axis: int,
    label: str,
    why: str,
    flag: str,
) -> None:
    tensor = refquant.quantize(x, scheme, axis)
    if axis == -1 and "zeros" not in label and not _says_anything(tensor):
        # Who writes nothing would pass: the same weights with others beside them (idle.py).
        x = np.concatenate([x, _input(scheme, x.shape, "bell", MIXED_SEED)])
        tensor, label, why = refquant.quantize(x, scheme), f"{label}-and-usual", f"{why}, and usual"
    name = f"{slug(scheme)}.{label}"
    if not _agrees(tensor, x, oracle, name):
        return
    extra = ["axis"] if axis != -1 else []
    writer.add(
        name,
        "encode",
        {"scheme": scheme.name, "axis": axis},
        {"x": x},
        {key: np.asarray(records) for key, records in tensor.planes.items()},
        features=[feature("encode", scheme), *extra],
        flags=(flag,) if flag else (),
        why=why,
    )


def _says_anything(tensor: QuantizedTensor) -> bool:
    """Whether any byte is another one than 0."""
    return any(np.asarray(records).any() for records in tensor.planes.values())


def _agrees(tensor: QuantizedTensor, x: F32, oracle: Encoder, name: str) -> bool:
    """Whether the scalar encoder has an answer; ConformanceError if it is another one."""
    layout = tensor.layout
    codes = {
        key: np.asarray(field_codes(layout, key, tensor.planes[field.plane], x.shape))
        for key, field in layout.fields.items()
    }
    groups = list(_groups(tensor, x))
    try:
        answers = oracle([weights for _, weights, _ in groups])
    except (OverflowError, ValueError, ZeroDivisionError):
        return False  # the plain rules stop at NaN and infinities
    for (where, _, inner), wanted in zip(groups, answers, strict=True):
        for key in layout.fields:
            found = codes[key][inner[key]].ravel().tolist()
            mask = (1 << _bits(layout.fields[key].element)) - 1
            both = [[int(code) & mask for code in side] for side in (found, wanted[key])]
            if both[0] != both[1]:
                raise ConformanceError(f"{name}: field {key} of the group at {where} differs")
    check_codes(tensor, codes, name)
    return True


def _bits(element: object) -> int:
    return int(getattr(element, "bits", 8))


def _groups(
    tensor: QuantizedTensor, x: F32
) -> Iterator[tuple[tuple[int, ...], list[float], dict[str, tuple[slice, ...]]]]:
    """The weights of each group, and where each field has its codes."""
    scheme, layout = tensor.scheme, tensor.layout
    extents = scheme.group
    if len(extents) == 1:
        extents = (*extents, *[1] * (x.ndim - 1 - tensor.axis))
    sizes = aligned(extents, x.shape)
    overs = {key: aligned(field.over, x.shape) for key, field in layout.fields.items()}
    counts = [-(-n // size) for n, size in zip(x.shape, sizes, strict=True)]
    for place in product(*map(range, counts)):
        cut = tuple(slice(k * s, (k + 1) * s) for k, s in zip(place, sizes, strict=True))
        inner = {
            key: tuple(
                slice(c.start // o, -(-min(c.stop, n) // o))
                for c, o, n in zip(cut, over, x.shape, strict=True)
            )
            for key, over in overs.items()
        }
        weights = x[cut].ravel().tolist()
        yield place, weights, inner
