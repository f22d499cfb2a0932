"""Judging one output array by the class of its comparison (`conformance/SPEC.md`, Comparison)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.conformance.digests import digest_of, recomputed
from refquant.conformance.packs import Array, Case, Comparison, Pack
from refquant.errors import FormatError

__all__ = ["Verdict", "compare"]

Elements = NDArray[Any]
Aside = Callable[[str], Elements]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an output passes, and where it differs first; `different` counts elements.

    `wanted` is what it was compared with, where an output other than the expected one was right.
    """

    passed: bool
    different: int = 0
    first: tuple[int, ...] = ()
    found: str = ""
    expected: str = ""
    note: str = ""
    wanted: Elements | None = None


def compare(
    pack: Pack, case: Case, array: Array, found: Elements, behaviours: Mapping[str, str]
) -> Verdict:
    """The verdict on one output of a case; `found` has the declared type and shape."""
    rule = array.cmp or Comparison()
    expected = pack.array(array)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return Verdict(False, note=f"shape {list(found.shape)} or type {found.dtype} is wrong")

    def aside(name: str) -> Elements:
        return pack.array(next(one for one in case.aside if one.name == name))

    if rule.name == "either":
        wanted = _alternative(expected, rule, aside, behaviours)
        return _verdict(found, wanted, _bits(found, wanted, rule, aside))
    if rule.name == "digest":
        return _digest(pack, case, array, rule, found)
    if rule.name not in CLASSES:
        raise FormatError("E_SUITE", f"{rule.name!r} is no class of comparison", where=case.id)
    wrong = CLASSES[rule.name](found, expected, rule, aside)
    return _verdict(found, expected, wrong)


def _verdict(found: Elements, expected: Elements, wrong: NDArray[np.bool_]) -> Verdict:
    if not wrong.any():
        return Verdict(True)
    flat = int(np.flatnonzero(wrong.reshape(-1))[0])
    first = tuple(int(i) for i in np.unravel_index(flat, wrong.shape)) if wrong.shape else ()
    place = first if wrong.shape == found.shape else first[: found.ndim]
    both = _shown(found[place]), _shown(expected[place])
    return Verdict(False, int(wrong.sum()), first, *both, wanted=expected)


def _shown(element: Any) -> str:
    """A number and its bits, as a person compares them."""
    raw = np.ascontiguousarray(element)
    bits = raw.reshape(-1)[:1].tobytes()[::-1].hex()
    return f"{raw.reshape(-1)[0]} (0x{bits})" if raw.size else "nothing"


def _bits(found: Elements, expected: Elements, rule: Comparison, _: Aside) -> NDArray[np.bool_]:
    width = f"u{found.dtype.itemsize}"
    wrong = found.view(width) != expected.view(width)
    if rule.nan == "any" and found.dtype.kind == "f":
        wrong &= ~(np.isnan(found) & np.isnan(expected))
    return np.asarray(wrong)


def _interval(found: Elements, _: Elements, rule: Comparison, aside: Aside) -> NDArray[np.bool_]:
    # Written so that a NaN is outside of every interval.
    return np.asarray(~((found >= aside(rule.low)) & (found <= aside(rule.high))))


def _ulp(found: Elements, expected: Elements, rule: Comparison, _: Aside) -> NDArray[np.bool_]:
    distance = np.abs(_ordinal(found) - _ordinal(expected))
    nan = np.isnan(found) | np.isnan(expected)
    both = np.isnan(found) & np.isnan(expected)
    return np.asarray(np.where(nan, ~both, distance > rule.n))


def _ordinal(values: Elements) -> NDArray[np.int64]:
    """Consecutive integers for consecutive floating-point numbers, 0 for both zeros."""
    size = values.dtype.itemsize
    bits = values.view(f"u{size}").astype(np.int64)
    magnitude = bits & ((1 << (8 * size - 1)) - 1)
    return np.where(np.signbit(values), -magnitude, magnitude)


def _dot(found: Elements, _: Elements, rule: Comparison, aside: Aside) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        away = np.abs(found.astype(np.float64) - aside(rule.exact))
    return np.asarray(~(away <= aside(rule.bound)))


def _decision(
    found: Elements, expected: Elements, rule: Comparison, aside: Aside
) -> NDArray[np.bool_]:
    decided = aside(rule.margin) != 0
    lost = np.isnan(found).any(axis=-1)
    return np.asarray(decided & (lost | (found.argmax(axis=-1) != expected.argmax(axis=-1))))


def _digest(pack: Pack, case: Case, array: Array, rule: Comparison, found: Elements) -> Verdict:
    """The verdict by a digest; what differs is named by computing what is right."""
    digest = digest_of(found, rule.nan)
    if digest == rule.sha256:
        return Verdict(True)
    wanted = recomputed(pack, case, array)
    if wanted is None:
        return Verdict(False, note=f"SHA-256 {digest[:16]}..., expected {rule.sha256[:16]}...")
    return _verdict(found, wanted, _bits(found, wanted, rule, lambda _: wanted))


Judge = Callable[[Elements, Elements, Comparison, Aside], NDArray[np.bool_]]

CLASSES: Final[Mapping[str, Judge]] = {
    "bits": _bits,
    "interval": _interval,
    "ulp": _ulp,
    "dot": _dot,
    "decision": _decision,
}


def _alternative(
    expected: Elements, rule: Comparison, aside: Aside, behaviours: Mapping[str, str]
) -> Elements:
    """The alternative of the declared behaviour; `behaviour=value` names each of them."""
    for choice, name in rule.alternatives.items():
        behaviour, _, value = choice.partition("=")
        if behaviours.get(behaviour) == value:
            return aside(name)
    return expected
