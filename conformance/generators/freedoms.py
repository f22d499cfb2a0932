"""Encode cases of ggml's closed forms where builds and packages of one project differ.

The clauses fix what comes out. An engine that declares to be of the other kind (rule S-13) is
judged by the other alternative, which two oracles compute too: the known rival in NumPy, and plain
Python.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.generators.agreement import agree, scalar_codes
from conformance.generators.names import feature, slug
from conformance.generators.writer import PackWriter, Values
from conformance.mutants import builds
from conformance.oracle import ggml_closed
from refquant.conformance.packs import Comparison
from refquant.driver import Scheme
from refquant.testing import SplitMix64

__all__ = ["freed"]

F32 = NDArray[np.float32]
Scalar = Callable[[Sequence[float]], ggml_closed.Fields]

FUSED = "ggml.contraction=fused"
SPREAD = "ggml.nan=spreads"
MIDDLES = {"q4_0": 8.5, "q5_0": 16.5}
TOPS = {"q4_1": 15, "q5_1": 31}
SPREADING = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4")
"""What gguf-py encodes, and what a NaN spreads in."""

NUMBERED = (*SPREADING, "q2_0", "q8_1", "nvfp4")
"""Formats with a clause about the NaN; in Q1_0 the scale is one, and no clause says which."""


def freed(writer: PackWriter, scheme: Scheme, seed: int) -> None:
    """The cases of one scheme; another seed gives other weights and names, for another pack."""
    space, _, name = scheme.name.partition("/")
    if space != "ggml":
        return
    again, random = "-again" if seed > 1 else "", SplitMix64(940 + seed)
    if name in ggml_closed.FUSED:
        x = _contracted(name, random)
        why = "products and sums that a fused instruction rounds otherwise"
        _add(writer, scheme, f"contracted{again}", x, why, FUSED)
    if name in NUMBERED:
        x = _broken(scheme, random)
        choice = SPREAD if name in SPREADING else ""
        _add(writer, scheme, f"not-a-number{again}", x, "a NaN among the weights", choice)
        _add(writer, scheme, f"infinite{again}", _infinite(scheme, random), "infinities", "")


def _contracted(name: str, random: SplitMix64) -> F32:
    """Two blocks of weights whose code is another one where a product and a sum round once."""
    rows: list[F32] = []
    while len(rows) < 2:
        row = _around_zero(MIDDLES[name], random) if name in MIDDLES else _above(TOPS[name], random)
        if row.size:
            rows.append(row)
    return np.stack(rows)


def _around_zero(middle: float, random: SplitMix64) -> F32:
    extreme = -np.float32(1 + abs(float(random.bell(1)[0])))
    inverse = np.float32(1) / (extreme / np.float32(-np.floor(middle)))
    steps = np.arange(1, 2 * np.floor(middle), dtype=np.float32)
    x = _neighbours((steps - np.float32(middle)) / inverse)
    odd = _differs(x, inverse, np.float32(middle)) & (np.abs(x) < -extreme)
    return _block([extreme], x[odd])


def _above(top: int, random: SplitMix64) -> F32:
    low, high = np.float32(-1) - np.abs(random.bell(2))[:1], np.float32(1) + random.bell(1) ** 2
    inverse = np.float32(1) / ((high - low) / np.float32(top))
    steps = np.arange(1, top, dtype=np.float32)
    x = _neighbours((steps - np.float32(0.5)) / inverse + low)
    odd = _differs(x - low, inverse, np.float32(0.5)) & (x > low) & (x < high)
    return _block([low[0], high[0]], x[odd])


def _neighbours(near: F32) -> F32:
    """Each number with twelve to both sides."""
    around = near.astype(np.float32).view(np.int32)[:, None] + np.arange(-12, 13, dtype=np.int32)
    return np.asarray(around.reshape(-1).view(np.float32))


def _differs(x: F32, inverse: F32 | np.float32, offset: np.float32) -> NDArray[np.bool_]:
    exact = x.astype(np.float64) * np.float64(inverse) + np.float64(offset)
    return np.asarray(np.trunc(x * inverse + offset) != np.trunc(exact.astype(np.float32)))


def _block(first: Sequence[np.float32], others: F32) -> F32:
    if not others.size:
        return others
    return np.concatenate([first, np.resize(others, 32 - len(first))]).astype(np.float32)


def _blocks(scheme: Scheme, random: SplitMix64, count: int) -> F32:
    return random.bell(count, scheme.group[-1])


def _broken(scheme: Scheme, random: SplitMix64) -> F32:
    """A NaN first, one behind the largest magnitude, two, and a block without any."""
    x = _blocks(scheme, random, 4)
    x[0, 0] = x[2, 3] = x[2, 17] = np.nan
    place = int(np.abs(x[1]).argmax())
    x[1, [7, place]] = x[1, [place, 7]]
    x[1, 8] = np.nan
    return x


def _infinite(scheme: Scheme, random: SplitMix64) -> F32:
    """Infinities of one sign, of the other, and of both; the last block has none."""
    x = _blocks(scheme, random, 4)
    x[0, 5], x[1, 9], x[2, 11], x[2, 2] = np.inf, -np.inf, np.inf, -np.inf
    return x


def _add(
    writer: PackWriter, scheme: Scheme, label: str, x: F32, why: str, choice: str
) -> None:  # fmt: skip
    name, kind = f"{slug(scheme)}.encode.{label}", scheme.name.partition("/")[2]
    blocks = _encoded(scheme, x, ggml_closed.ENCODERS[kind], name)
    rule, aside = Comparison(), {}
    if choice:
        ending = "fused" if choice == FUSED else "nan-spreads"
        scalar = ggml_closed.FUSED[kind] if choice == FUSED else partial(ggml_closed.spread, kind)
        rival = next(one for one in builds.MUTANTS if one.id == f"rival-{kind}-{ending}").build()
        aside = {"otherwise": _encoded(rival, x, scalar, f"{name}, {choice}")}
        rule = Comparison("either", alternatives={choice: "otherwise"})
    writer.add(
        name,
        "encode",
        {"scheme": scheme.name, "axis": -1},
        {"x": x},
        {"blocks": blocks},
        features=[feature("encode", scheme)],
        cmp={"blocks": rule},
        aside=aside,
        flags=("TieRounding",) if choice == FUSED else ("NonFinite",),
        why=why,
    )


def _encoded(scheme: Scheme, x: F32, scalar: Scalar, name: str) -> Values:
    """The blocks, every field of which the scalar encoder agrees with."""
    with np.errstate(all="ignore"):
        tensor = refquant.quantize(x, scheme)
    expected = [scalar(row) for row in x.tolist()]
    for key, one in tensor.layout.fields.items():
        mask = (1 << int(getattr(one.element, "bits", 8))) - 1
        wanted = [int(code) & mask for fields in expected for code in fields[key]]
        found = [int(code) & mask for code in scalar_codes(tensor, key)]
        agree(found, wanted, f"{name}, field {key}")
    return np.asarray(tensor.planes["blocks"])
