"""Packs about what engines may compute in more than one way: quotients, and elementary functions.

`interval` cases allow the codes that a division and a product with the reciprocal can give, and
`ulp` cases as many units as a bound counts roundings. Both bounds are computed by `oracle/` from
exact rationals; the package's own numbers have to lie within them.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from conformance.generators.writer import PackWriter, Values
from conformance.oracle import bends
from conformance.oracle.quotients import code_bounds
from refquant.conformance.compare import compare
from refquant.conformance.operations import Task, perform
from refquant.conformance.packs import Comparison
from refquant.errors import ConformanceError
from refquant.testing import SplitMix64

__all__ = ["functions", "quotients"]

F32 = NDArray[np.float32]

CODES = {"int8": (np.int8, 0), "int8-odd": (np.int8, -5), "uint8": (np.uint8, 131)}
"""A type of codes and a zero point; an odd one shows where ties are rounded behind it."""

SCALES = {"power-of-two": 2.0**-4, "third": 1 / 3, "small": 0.0131, "tiny": 3.1e-30}
EPSILON = 1e-5


def quotients(writer: PackWriter, seed: int) -> None:
    """Numbers about all ties of a scale, near and beyond the ends, to codes of three kinds."""
    for (kind, (dtype, zero)), (name, scale) in product(CODES.items(), SCALES.items()):
        single = np.float32(scale * (1 + (seed - 1) * (name != "power-of-two") / 7))
        limits = np.iinfo(dtype)
        x = _about_ties(single, limits.min - zero, limits.max - zero, SplitMix64(700 + seed))
        bounds = [
            code_bounds(one, float(single), zero, int(limits.min), int(limits.max))
            for one in x.tolist()
        ]
        low, high = (np.array(side, dtype) for side in zip(*bounds, strict=True))
        _add_quotients(writer, f"{kind}.{name}.{seed}", x, single, zero, {"low": low, "high": high})


def _about_ties(scale: np.float32, first: int, last: int, random: SplitMix64) -> F32:
    """Middles between codes, their neighbours, numbers of no kind, and both ends passed."""
    steps = np.concatenate([[first - 2, first - 1, last, last + 1], random.below(last - first, 12)])
    steps[4:] += first
    middles = ((steps + 0.5) * np.float64(scale)).astype(np.float32)
    near = [np.nextafter(middles, np.float32(side)) for side in (np.inf, -np.inf)]
    others = random.bell(16) * scale * np.float32(40)
    ends = np.array([0.0, -0.0, 1e30, -1e30], np.float32)
    return np.concatenate([middles, *near, others, ends]).astype(np.float32)


def _add_quotients(
    writer: PackWriter,
    label: str,
    x: F32,
    scale: np.float32,
    zero: int,
    sides: Mapping[str, Values],
) -> None:
    low = sides["low"]
    limits = np.iinfo(low.dtype)
    params = {
        "division": "any",
        "zero_point": zero,
        "low": int(limits.min),
        "high": int(limits.max),
    }
    inputs = {"x": x, "scale": np.array([scale], np.float32)}
    codes = perform(Task("quantize", params, inputs, {}))["codes"].astype(low.dtype)
    writer.add(
        f"quantize.any.{label}",
        "quantize",
        params,
        inputs,
        {"codes": codes},
        features=["quantize.any"],
        cmp={"codes": Comparison("interval", low="low", high="high")},
        aside=sides,
        clauses=("S-17",),
        flags=("TieRounding", "Saturation"),
        why="about the middles of codes, by a division or a product with the reciprocal",
    )
    _check(writer)


def _check(writer: PackWriter) -> None:
    """ConformanceError where the package's own numbers do not pass the case that was added."""
    pack, case = writer.made(), writer.cases[-1]
    task = Task(case.op, case.params, {one.name: pack.array(one) for one in case.inputs}, {})
    for array in case.outputs:
        expected = pack.array(array)
        found = np.asarray(perform(task)[array.name]).astype(expected.dtype)
        if not compare(pack, case, array, found, {}).passed:
            raise ConformanceError(f"{case.id}: the package is outside of its own bound")


def _drawn(name: str, seed: int) -> F32:
    """Rows of numbers on which the bound of a function holds."""
    random = SplitMix64(800 + seed)
    if name == "silu":
        return (random.bell(4, 32) * np.float32(20)).clip(-80, 80).astype(np.float32)
    if name == "softmax":  # multiples of 1/64, so that differences are exact, some of them large
        x = (random.below(512, 4, 32) / np.float32(64)).astype(np.float32)
        x[1] += np.float32(100)
        x[2] -= np.float32(100)
        return x
    if name == "rms_norm":
        x = random.bell(4, 48)
        x[1] *= np.float32(2.0**-9)
        x[2] += np.float32(3)
        return x
    return (random.below(7 << 16, 4, 32) / np.float32(1 << 16) - 1).astype(np.float32)


def functions(writer: PackWriter, seed: int) -> None:
    """Functions of rows, judged by as many units as an engine's own may be off."""
    for name in ("silu", "gelu", "gelu_tanh", "softmax", "rms_norm"):
        x, single = _drawn(name, seed), float(np.float32(EPSILON))
        params: dict[str, str] = {"function": name}
        inputs = {"x": x}
        if name == "rms_norm":
            params["epsilon"] = struct.pack(">f", single).hex()
            inputs["weight"] = 1 + SplitMix64(850 + seed).bell(x.shape[1]) / np.float32(4)
        rows = [_exact(name, row, inputs, single) for row in x.tolist()]
        writer.add(
            f"function.{name}.{seed}",
            "function",
            params,
            inputs,
            {"y": np.array(rows, np.float32)},
            features=[f"function.{name}"],
            cmp={"y": Comparison("ulp", n=bends.ulps(name, x.shape[1]))},
            clauses=("S-16",),
            why="functions of any mathematical library, in any order of sums",
        )
        _check(writer)


def _exact(
    name: str, row: Sequence[float], inputs: Mapping[str, F32], epsilon: float
) -> list[float]:
    if name == "softmax":
        return bends.softmax(row)
    if name == "rms_norm":
        return bends.rms_norm(row, inputs["weight"].tolist(), epsilon)
    return [bends.BENDS[name](x) for x in row]
