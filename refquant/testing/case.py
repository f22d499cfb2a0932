"""Cases: bytes of a scheme with the bits they decode to, and weights with the bytes they become.

Everything here is made from the scheme alone and is the same on every machine. A case is built
when it is first used, so that collecting tests costs nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import UnknownSchemeError
from refquant.layout import Element, Field, Layout, Minifloat, pack_codes
from refquant.layout.expression import divides
from refquant.layout.layout import aligned
from refquant.numerics import minifloat_values
from refquant.schemes import scheme as find_scheme
from refquant.schemes import schemes
from refquant.tensor import QuantizedTensor, quantize
from refquant.testing.inputs import KINDS, adversarial_inputs
from refquant.testing.shapes import WHOLE_AXIS, code_fields, code_range, fitting_shape
from refquant.testing.splitmix import SplitMix64

__all__ = ["Case", "cases_of"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]

MOST_WEIGHTS = 1 << 16
EXTREME = {"non-finite", "overflow", "underflow", "subnormal", "least", "edges of halves"}

ENOUGH = 32
"""Weights of a group among which ties are found that hold in spite of the rounded scale."""


@dataclass(frozen=True)
class Case:
    """One input of a scheme with its expected output.

    `planes` decode to `values`; where `x` is given, encoding it gives `planes`. `flags` say what
    is special: "decode" or "encode", "non-finite" (NaN or infinities may occur), "edge".
    """

    scheme: Scheme
    kind: str
    shape: tuple[int, ...]
    flags: frozenset[str]

    @property
    def id(self) -> str:
        """A name that is unique among the cases of all schemes."""
        return f"{self.scheme.name}-{self.kind.replace(' ', '-')}"

    @cached_property
    def x(self) -> F32 | None:
        """The weights to encode, or None where the case is about decoding alone."""
        if "encode" not in self.flags:
            return None
        return adversarial_inputs(self.scheme, self.shape)[self.kind.removeprefix("encode ")]

    @cached_property
    def tensor(self) -> QuantizedTensor:
        """The quantized tensor: `planes` and `shape` under `scheme`."""
        if self.x is not None:
            return quantize(self.x, self.scheme)
        if self.scheme.operators:
            return _rearranged(self.scheme, self.shape, self.kind)
        layout = self.scheme.layout
        planes = _DECODED[self.kind](layout, self.shape)
        for records in planes.values():
            records.flags.writeable = False
        return QuantizedTensor(self.scheme, self.shape, planes)

    @property
    def planes(self) -> Mapping[str, Bytes]:
        """The bytes of each plane, of shape grid + (record bytes,)."""
        return self.tensor.planes

    @cached_property
    def values(self) -> F32:
        """The weights that `planes` stand for, in binary32."""
        values = self.tensor.dequantize()
        values.flags.writeable = False
        return values

    def __repr__(self) -> str:
        return f"Case({self.id!r}, shape={self.shape})"


def cases_of(*patterns: str | Scheme, edge: bool = True) -> Iterator[Case]:
    """The cases of every scheme that a pattern names: a name, an alias, `ggml/*`, or a scheme.

    Without `edge`, only one decode case and one encode case a scheme. Raises
    `UnknownSchemeError` for a pattern that names nothing.
    """
    for pattern in patterns:
        for scheme in _matching(pattern):
            yield from _cases_of_scheme(scheme, edge=edge)


def _matching(pattern: str | Scheme) -> list[Scheme]:
    if isinstance(pattern, Scheme):
        return [pattern]
    if not any(sign in pattern for sign in "*?"):
        return [find_scheme(pattern)]
    found = [known for known in schemes() if fnmatchcase(known.name, pattern)]
    if not found:
        raise UnknownSchemeError(pattern)
    return found


def _cases_of_scheme(scheme: Scheme, *, edge: bool) -> Iterator[Case]:
    kinds = ("every code", "one sign", "heavy tails") if scheme.operators else tuple(_DECODED)
    for kind in kinds if edge else ("every code",):
        flags = {"decode"} | ({"edge"} if kind != "every code" else set())
        special = kind in ("any bytes", "special scales", "all bits 1")
        if special or _has_special_codes(scheme) or divides(scheme.layout.value):
            flags.add("non-finite")
        yield Case(scheme, kind, _shape(scheme, kind), frozenset(flags))
    if not scheme.can_encode:
        return
    for kind in KINDS if edge else ("bell",):
        if kind == "non-finite" and not scheme.non_finite:
            continue
        if kind.endswith("ties") and scheme.operators:
            continue
        flags = {"encode"} | ({"edge"} if kind != "bell" else set())
        if kind in EXTREME or _lacks_zero(scheme):
            flags.add("non-finite")
        yield Case(scheme, f"encode {kind}", _encoded_shape(scheme), frozenset(flags))


def _encoded_shape(scheme: Scheme) -> tuple[int, ...]:
    """Eight rows of whole groups; where a group spans the axis, of enough weights to have ties."""
    shape = fitting_shape(scheme, 8)
    extents = [plane.block[-1] for plane in scheme.planes.values()] + [scheme.group[-1]]
    if scheme.operators or 0 not in extents or shape[-1] >= ENOUGH:
        return shape
    return (*shape[:-1], shape[-1] * -(-WHOLE_AXIS // shape[-1]))


def _rearranged(scheme: Scheme, shape: tuple[int, ...], kind: str) -> QuantizedTensor:
    """Weights under a scheme with operators, inputs out of order where they may be."""
    random = SplitMix64(104)
    x = KINDS[kind](random, scheme, shape) if kind in KINDS else random.bell(*shape)
    if any(operator.weighted for operator in scheme.operators):
        return quantize(x, scheme, importance=np.abs(random.bell(shape[-1])))
    return quantize(x, scheme)


def _has_special_codes(scheme: Scheme) -> bool:
    """Whether codes themselves may be NaN or infinite."""
    elements = (scheme.layout.fields[name].element for name in code_fields(scheme.layout))
    return any(isinstance(e, Minifloat) and e.specials != "none" for e in elements)


def _lacks_zero(scheme: Scheme) -> bool:
    """Whether zeros may become NaN: codes are powers of two, or the scale of zeros is 0."""
    elements = (scheme.layout.fields[name].element for name in code_fields(scheme.layout))
    if any(isinstance(e, Minifloat) and e.specials == "e8m0" for e in elements):
        return True
    zeros = quantize(np.zeros(fitting_shape(scheme, 1), np.float32), scheme)
    return not np.isfinite(zeros.dequantize()).all()


def _shape(scheme: Scheme, kind: str) -> tuple[int, ...]:
    """Enough weights that every code of up to 8 bits occurs."""
    smallest = fitting_shape(scheme, rows=2)
    if scheme.operators:
        return smallest
    rows = 8 if kind == "every code" else 2
    fields = scheme.layout.fields
    counts = [len(code_range(fields[name].element)) for name in code_fields(scheme.layout)]
    widest = max((count for count in counts if count <= 256), default=1)
    shape = fitting_shape(scheme, rows)
    if kind == "every code" and np.prod(shape) < 2 * widest:
        times = -(-2 * widest // int(np.prod(shape)))
        shape = (*shape[:-1], shape[-1] * times)
    return shape if np.prod(shape) <= MOST_WEIGHTS else smallest


def _planes(layout: Layout, shape: tuple[int, ...]) -> dict[str, Bytes]:
    return {
        name: np.zeros((*layout.grid(name, shape), plane.bytes), np.uint8)
        for name, plane in layout.planes.items()
    }


def _every_code(layout: Layout, shape: tuple[int, ...]) -> dict[str, Bytes]:
    """All codes in a scrambled order, and parameters that all differ, so that a slip shows."""
    random, planes = SplitMix64(101), _planes(layout, shape)
    for name, field in layout.fields.items():
        counts = _counts(field, shape)
        if name in code_fields(layout):
            codes: NDArray[np.integer] = _shuffled(code_range(field.element), counts, random)
        else:
            codes = _tame(field.element, counts, random)
        pack_codes(layout, name, codes, planes[field.plane], shape)
    return planes


def _counts(field: Field, shape: tuple[int, ...]) -> tuple[int, ...]:
    overs = aligned(field.over, shape)
    return tuple(-(-n // over) for n, over in zip(shape, overs, strict=True))


def _shuffled(
    allowed: range, counts: tuple[int, ...], random: SplitMix64
) -> NDArray[np.int64]:  # -> i64[*counts]
    """Every code as often as every other, in random order; wide codes at random.

    Where there are fewer places than codes, they are spread over the range and none is its first.
    """
    total, size = int(np.prod(counts)), len(allowed)
    if size > 256:
        return random.below(size, *counts) + allowed.start
    order = np.argsort(random.bits(total), kind="stable")
    codes = np.arange(total, dtype=np.int64)
    if total < size:
        codes = (2 * codes + 1) * size // (2 * total)
    return codes[order].reshape(counts) % size + allowed.start


def _tame(
    element: Element, counts: tuple[int, ...], random: SplitMix64
) -> NDArray[np.integer]:  # -> code[*counts]
    """Parameters of usual size: floats between 2**-5 and 2**-1 of either sign, any integers."""
    if not isinstance(element, Minifloat):
        return _shuffled(code_range(element), counts, random)
    if element.bits == 32:
        values = (np.abs(random.uniform(*counts)) + 0.0625) / 4
        return values.astype(np.float32).view(np.uint32)
    table = minifloat_values(
        element.sign, element.exponent, element.mantissa, element.bias, element.specials
    )
    usual = np.flatnonzero((table >= 2.0**-5) & (table <= 0.5))
    if not usual.size:
        usual = np.flatnonzero(np.isfinite(table) & (table > 0))
    return usual[random.below(len(usual), *counts)]


def _any_bytes(layout: Layout, shape: tuple[int, ...]) -> dict[str, Bytes]:
    """Random bytes, and so scales of every kind, NaN and infinities included."""
    random, planes = SplitMix64(102), _planes(layout, shape)
    for records in planes.values():
        records[...] = np.frombuffer(random.data(records.size), np.uint8).reshape(records.shape)
    return planes


def _special_scales(layout: Layout, shape: tuple[int, ...]) -> dict[str, Bytes]:
    """Float parameters that are zeros of either sign, subnormal, negative, or the largest."""
    planes, random = _every_code(layout, shape), SplitMix64(103)
    for name, field in layout.fields.items():
        element = field.element
        if not isinstance(element, Minifloat) or name in code_fields(layout):
            continue
        top = 1 << (element.exponent + element.mantissa)
        reserved = (1 << element.mantissa) if element.specials == "ieee" else 1
        largest = top - 1 - reserved
        special = [0, 1, min(1 << element.mantissa, largest), largest]
        special += [code | top for code in special if element.sign]
        codes = np.array(special)[random.below(len(special), *_counts(field, shape))]
        fresh = _planes(layout, shape)[field.plane]
        pack_codes(layout, name, np.full(codes.shape, -1, np.int64), fresh, shape)
        planes[field.plane] &= ~fresh
        pack_codes(layout, name, codes, planes[field.plane], shape)
    return planes


def _all_equal(layout: Layout, shape: tuple[int, ...], byte: int) -> dict[str, Bytes]:
    planes = _planes(layout, shape)
    for records in planes.values():
        records[...] = byte
    return planes


_DECODED: Mapping[str, Callable[[Layout, tuple[int, ...]], dict[str, Bytes]]] = {
    "every code": _every_code,
    "special scales": _special_scales,
    "any bytes": _any_bytes,
    "all bits 0": lambda layout, shape: _all_equal(layout, shape, 0x00),
    "all bits 1": lambda layout, shape: _all_equal(layout, shape, 0xFF),
}
