"""Packs about arithmetic: rows to codes, products to accumulators, accumulators to codes."""

from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray

from conformance.generators.agreement import agree
from conformance.generators.names import feature, slug
from conformance.generators.writer import PackWriter, Values
from conformance.oracle import integers, rows
from refquant.conformance.operations import QUANTIZERS, REQUANTIZERS, Task, perform
from refquant.conformance.packs import Comparison
from refquant.driver import Scheme
from refquant.testing import SplitMix64, cases_of

__all__ = ["integer_products", "linear", "quantized_rows", "requantized"]

F32 = NDArray[np.float32]


LIMITS = ((0, -128, 127), (-3, -128, 127), (128, 0, 255), (0, -(1 << 15), (1 << 15) - 1))
"""Zero point, least and largest code."""

MOVED = (-3, -128, 127)
"""The ones with which no code of a case is 0."""


def _rows(seed: int) -> dict[str, F32]:
    """Rows of 48 activations for every kind of trouble."""
    random = SplitMix64(seed)
    usual = random.bell(3, 48)
    ties = (random.below(509, 3, 48) - 254).astype(np.float32) / 2
    ties[:, 0], ties[:, 1] = 127, -127
    sided = np.abs(random.bell(3, 48))
    sided[1] *= -1
    edge = random.bell(4, 48)
    edge[0] = 0
    edge[1] = -0.0
    edge[2, 5] = 1000
    edge[3] = 3
    uneven = ties.copy()
    uneven[:, 1] = [-128, -100.5, -0.5]
    return {
        "usual": usual,
        "ties": ties,
        "near-ties": np.nextafter(ties, np.float32(np.inf)),
        "one-sided": sided,
        "edges": edge,
        "uneven": uneven,
        "small": usual * np.float32(2.0**-40),
    }


def quantized_rows(writer: PackWriter, seed: int) -> None:
    """Activations under every contract."""
    for contract, (name, x) in product(QUANTIZERS, _rows(seed).items()):
        found = QUANTIZERS[contract](x)
        case = f"rows.{contract}.{name}.{seed}"
        for k, row in enumerate(x.tolist()):
            codes, scale, zero = rows.QUANTIZERS[contract](row)
            agree(found.codes[k].tolist(), codes, case)
            agree([float(found.scale[k]), int(found.zero_point[k])], [scale, zero], case)
        outputs = {"codes": found.codes, "scale": found.scale, "zero_point": found.zero_point}
        writer.add(
            case,
            "quantize_rows",
            {"contract": contract},
            {"x": x},
            outputs,
            features=[f"quantize_rows.{contract}"],
            flags=("TieRounding",) if "ties" in name else (),
            why=f"{name.replace('-', ' ')} rows",
        )


def _operands(seed: int) -> dict[str, tuple[Values, Values]]:
    random = SplitMix64(seed)

    def drawn(rows: int, inner: int, low: int, high: int, dtype: type) -> Values:
        return (random.below(high - low + 1, rows, inner) + low).astype(dtype)

    extreme = np.full((2, 34 + seed), -128, np.int8)
    pairs = np.full((1, 62 + seed), 255, np.uint8), np.full((2, 62 + seed), 127, np.int8)
    pairs[1][1] = -128
    found: dict[str, tuple[Values, Values]] = {
        f"inner-{k}": (drawn(2, k, -128, 127, np.int8), drawn(3, k, -128, 127, np.int8))
        for k in (1, 2, 3, 31, 32, 33)
    }
    return {
        **found,
        "least": (extreme, extreme),
        "pairs": pairs,
        "unsigned": (drawn(3, 40, 0, 255, np.uint8), drawn(3, 40, -128, 127, np.int8)),
        "nibbles": (drawn(2, 64, -128, 127, np.int8), drawn(2, 64, -8, 7, np.int8)),
        "long": (drawn(1, 4096, 100, 127, np.int8), drawn(1, 4096, 100, 127, np.int8)),
    }


def integer_products(writer: PackWriter, seed: int) -> None:
    """Exact accumulators: odd lengths, extremes, sums of pairs beyond 16 bits, long sums."""
    for name, (a, b) in _operands(seed).items():
        task = Task("integer_matmul", {}, {"a": a, "b": b}, {})
        found = perform(task)["accumulators"]
        case = f"integer_matmul.{name}.{seed}"
        agree(found.ravel().tolist(), integers.accumulators(a.tolist(), b.tolist()), case)
        kinds = f"{'u8' if a.dtype == np.uint8 else 's8'}s8"
        writer.add(
            case,
            "integer_matmul",
            {},
            {"a": a, "b": b},
            {"accumulators": found},
            features=[f"integer_matmul.{kinds}"],
            flags=("PairSaturation",) if name == "pairs" else (),
            why=f"{name.replace('-', ' ')} operands",
        )


def requantized(writer: PackWriter, seed: int) -> None:
    """Every rounding with shifts of 0 and 31 and of between, ties, and both saturations."""
    random = SplitMix64(seed)
    multipliers = (1 << 30, (1 << 31) - 1, 0x5A827999 + seed)
    for rounding, multiplier, shift in product(REQUANTIZERS, multipliers, (-31, -8, -1, 0, 3)):
        spread = 31 - max(shift, 0) - 1
        x = (random.bits(24).astype(np.int64) >> np.int64(64 - spread)).astype(np.int32)
        step = 1 << min(max(-shift, 0) + 1, 28)
        ties = (np.arange(-8, 8, dtype=np.int64) * step // 2).astype(np.int32)
        ends = [0, 1, -1, (1 << spread) - 1, -(1 << spread)]
        accumulators = np.concatenate([x, ties, np.array(ends, np.int32)])
        limits = LIMITS[(multipliers.index(multiplier) + shift) % len(LIMITS)]
        label = f"{multiplier:08x}.{shift}.{seed}"
        _add_requantized(writer, rounding, (multiplier, shift), limits, accumulators, label)


def _add_requantized(
    writer: PackWriter,
    rounding: str,
    by: tuple[int, int],
    limits: tuple[int, int, int],
    accumulators: Values,
    label: str,
) -> None:
    name = f"requantize.{rounding}.{label.replace('-', 'm')}"
    params = {
        "rounding": rounding,
        "zero_point": limits[0],
        "low": limits[1],
        "high": limits[2],
    }
    inputs = {
        "accumulators": accumulators,
        "multiplier": np.array([by[0]], np.int32),
        "shift": np.array([by[1]], np.int32),
    }
    dtype = {0: np.uint8, -128: np.int8}.get(limits[1], np.int16)
    codes = perform(Task("requantize", params, inputs, {}))["codes"].astype(dtype)
    if not codes.any():  # who writes nothing would pass (idle.py): the same about a zero point
        _add_requantized(writer, rounding, by, MOVED, accumulators, f"{label}.moved")
        return
    expected = [integers.requantized(x, rounding, by, limits) for x in accumulators.tolist()]
    agree(codes.tolist(), expected, name)
    writer.add(
        name,
        "requantize",
        params,
        inputs,
        {"codes": codes},
        features=[f"requantize.{rounding}"],
        flags=("TieRounding", "Saturation"),
        why=f"multiplier {by[0]:#x}, shift {by[1]}: ties, ends, zero point {limits[0]}",
    )


def linear(writer: PackWriter, scheme: Scheme) -> None:
    """`x @ w.T` under any order of binary32 sums: judged by the bound of Higham, section 3.1."""
    if scheme.operators:
        return
    case = next(one for one in cases_of(scheme, edge=False) if one.x is None)
    if len(case.shape) != 2:
        return
    shape = (min(case.shape[0], 4), case.shape[1])
    try:
        tensor = case.tensor if shape == case.shape else case.tensor.rows(0, shape[0])
    except Exception:  # noqa: BLE001 - blocks over several rows cannot be cut
        tensor = case.tensor
    weights = tensor.dequantize()
    if not np.isfinite(weights).all():
        return
    x = SplitMix64(107).bell(2, shape[1])
    exact, bound = _exact_products(x, weights)
    if not np.isfinite(exact).all():
        return
    writer.add(
        f"{slug(scheme)}.linear.float32",
        "linear",
        {"scheme": scheme.name, "shape": list(tensor.shape), "axis": -1, "contract": "float32"},
        {"x": x, **tensor.planes},
        {"y": exact.astype(np.float32)},
        features=[feature("linear", scheme)],
        cmp={"y": Comparison("dot", exact="exact", bound="bound")},
        aside={"exact": exact, "bound": bound},
        why="binary32 in any order, of weights as they decode",
    )


def _exact_products(x: F32, w: F32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact sums, rounded to binary64 once, and the bound gamma(K) * (|x| @ |w|.T)."""
    terms = w.shape[1]
    gamma = Fraction(terms, 1 << 24) / (1 - Fraction(terms, 1 << 24))
    least = Fraction(terms + 1, 1 << 149)
    exact, bound = np.empty((len(x), len(w))), np.empty((len(x), len(w)))
    left = [[Fraction(v) for v in row] for row in x.tolist()]
    right = [[Fraction(v) for v in row] for row in w.tolist()]
    for i, j in product(range(len(x)), range(len(w))):
        terms_of = [a * b for a, b in zip(left[i], right[j], strict=True)]
        exact[i, j] = float(sum(terms_of))
        size = sum(map(abs, terms_of))
        bound[i, j] = float((gamma * size + least) * (1 + Fraction(1, 1 << 50)))
    return exact, bound
