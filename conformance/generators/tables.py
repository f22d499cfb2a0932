"""Packs of whole tables: every code under every scale, every number at every step, by a digest.

Inputs are counted (S-15) and outputs are compared by their SHA-256, so that a table of megabytes is
a line in a pack. The oracle is plain Python here too, in loops that take seconds.
"""

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance.generators.agreement import agree, check_values
from conformance.generators.names import feature, slug
from conformance.generators.writer import PackWriter, Values
from conformance.oracle import integers, small_floats
from conformance.oracle.binary import BFLOAT16
from conformance.oracle.binary import encode as encoded_as
from refquant.conformance.counted import Lane, counted_bytes
from refquant.conformance.digests import digest_of
from refquant.conformance.operations import REQUANTIZERS, Task, perform
from refquant.conformance.packs import Comparison
from refquant.errors import ConformanceError
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor

__all__ = ["tables"]

Lanes = tuple[Lane, ...]
BLOCKS = 1 << 16
HALVES = [struct.unpack("<e", bits.to_bytes(2, "little"))[0] for bits in range(BLOCKS)]
"""The number of every pattern of binary16, as Python reads it."""

SMALL = (
    "f8_e4m3fn[overflow=saturate]",
    "f8_e5m2[overflow=saturate]",
    "f8_e4m3fnuz[overflow=saturate]",
    "f8_e5m2fnuz[overflow=saturate]",
    "f6_e2m3fn",
    "f6_e3m2fn",
    "f4_e2m1fn",
)


@dataclass(frozen=True)
class Side:
    """One of the two packs: what differs between its tables and the other's."""

    label: str
    scales: Lane
    nibbles: Lane
    above: int
    """Added to the bits of each positive number, and taken from those of negative ones."""

    words: str


SIDES = (
    Side("up", Lane(2, step=1), Lane(1, start=240, count=16, next=-15), 0, "counted upwards"),
    Side("down", Lane(2, start=-1, step=-1), Lane(1, count=16, next=17), 1, "beside, or downwards"),
)


def tables(number: int) -> Callable[[PackWriter], None]:
    """All tables of one side."""
    side = SIDES[number]

    def make(writer: PackWriter) -> None:
        _sixteen_bits(writer, side)
        _blocks(writer, side)
        _roundings(writer, side)
        _pairs(writer, side)
        _requantized(writer, side)

    return make


def _counted(dtype: str, shape: tuple[int, ...], *lanes: Lane) -> Values:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(counted_bytes(lanes, size), dtype).reshape(shape)


def _alike(found: Values, expected: Iterable[float], what: str) -> None:
    """Bits of binary32 against the oracle's numbers, NaN alike."""
    plain = array("f", expected)
    if digest_of(np.frombuffer(plain, "<f4"), "any") != digest_of(found, "any"):
        agree(found.ravel().tolist(), plain, what)
        raise ConformanceError(f"{what}: bits of zeros differ from the scalar oracle's")


def _add(
    writer: PackWriter,
    name: str,
    task: tuple[str, Mapping[str, Any], Mapping[str, Values]],
    lanes: Mapping[str, Lanes],
    outputs: Mapping[str, Values],
    features: list[str],
    why: str,
) -> None:
    floats = {key: one.dtype.kind == "f" for key, one in outputs.items()}
    rules = {
        key: Comparison("digest", "any" if floats[key] else "payload", sha256=digest)
        for key, one in outputs.items()
        if (digest := digest_of(one, "any" if floats[key] else "payload"))
    }
    writer.add(
        name, *task, outputs, features=features, cmp=rules, counted=lanes, flags=("Table",), why=why
    )


def _decoded(
    writer: PackWriter, name: str, shape: tuple[int, int], plane: str, lanes: Lanes, side: Side
) -> tuple[Values, str]:
    """Add a table of decoded planes; the values and the case's name, for the oracle."""
    scheme = find_scheme(name)
    width = scheme.layout.planes[plane]
    grid = (shape[0], shape[1] // width.block[-1], width.bytes)
    planes = {plane: _counted("u1", grid, *lanes)}
    values = QuantizedTensor(scheme, shape, planes).dequantize()
    case = f"{slug(scheme)}.decode.table-{side.label}"
    params = {"scheme": name, "shape": list(shape), "axis": -1}
    why = f"every scale with every code, {side.words}"
    task = ("decode", params, planes)
    _add(writer, case, task, {plane: lanes}, {"values": values}, [feature("decode", scheme)], why)
    return values, case


def _sixteen_bits(writer: PackWriter, side: Side) -> None:
    order = _counted("<u2", (BLOCKS,), side.scales).tolist()
    for name in ("float/f16", "float/bf16"):
        found, case = _decoded(writer, name, (256, 256), "values", (side.scales,), side)
        wide = (struct.unpack("<f", (bits << 16).to_bytes(4, "little"))[0] for bits in order)
        _alike(found, (HALVES[b] for b in order) if name == "float/f16" else wide, case)


def _blocks(writer: PackWriter, side: Side) -> None:
    scales = [HALVES[bits] for bits in _counted("<u2", (BLOCKS,), side.scales).tolist()]
    raw = _counted("u1", (16,), side.nibbles).tolist()
    codes = [byte % 16 - 8 for byte in raw] + [byte // 16 - 8 for byte in raw]
    shape = (256, BLOCKS * 32 // 256)
    found, case = _decoded(writer, "ggml/q4_0", shape, "blocks", (side.scales, side.nibbles), side)
    _alike(found, (d * code for d in scales for code in codes), case)
    bytes_of_8 = Lane(1, count=32, next=1, step=32)
    lanes = (side.scales, bytes_of_8)
    found, case = _decoded(writer, "ggml/q8_0", shape, "blocks", lanes, side)
    runs = [[(k * 32 + i + 128) % 256 - 128 for i in range(32)] for k in range(8)]
    _alike(found, (d * code for k, d in enumerate(scales) for code in runs[k % 8]), case)
    powers = (Lane(1, step=1 if side.above == 0 else -1), side.nibbles)
    found, case = _decoded(writer, "ggml/mxfp4", (16, 16 * 32), "blocks", powers, side)
    planes = {"blocks": _counted("u1", (16, 16, 17), *powers)}
    check_values(QuantizedTensor(find_scheme("ggml/mxfp4"), (16, 512), planes), found, case)


def _roundings(writer: PackWriter, side: Side) -> None:
    """Numbers at even steps, of both signs, to every small float, to bfloat16 and to binary16."""
    bits16 = (
        Lane(4, side.above, 1 << 16),
        Lane(4, (1 << 31) - side.above + (side.above << 16), 1 << 16),
    )
    for name in SMALL:
        form, _, knob = name.partition("[")
        rule = "saturate" if knob else "special"
        _rounded(
            writer,
            f"float/{name}",
            32640,
            bits16,
            lambda x, f=form, r=rule: small_floats.encode(x, f, r),
            side,
        )
    middles = tuple(Lane(4, one.start + (1 << 15), 1 << 16) for one in bits16)
    _rounded(
        writer,
        "float/bf16",
        32640 - 4 * side.above,
        middles,
        lambda x: encoded_as(x, BFLOAT16),
        side,
    )
    first = 101 << 23  # well below half of the least subnormal of binary16
    halves = (
        Lane(4, first + side.above, 1 << 12),
        Lane(4, (1 << 31) + first - side.above, 1 << 12),
    )
    _rounded(writer, "float/f16", 43 << 11, halves, _half_bits, side)


def _half_bits(x: float) -> int:
    try:
        return int.from_bytes(struct.pack("<e", x), "little")
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def _rounded(
    writer: PackWriter,
    name: str,
    records: int,
    lanes: Lanes,
    scalar: Callable[[float], int],
    side: Side,
) -> None:
    scheme = find_scheme(name)
    x = _counted("<f4", (records // 4, 8), *lanes)
    params = {"scheme": name, "axis": -1}
    planes = perform(Task("encode", params, {"x": x}, {}))
    ((plane, codes),) = planes.items()
    case = f"{slug(scheme)}.encode.table-{side.label}"
    width = codes.shape[-1]
    bits = scheme.layout.fields["w"].element.bits
    expected = list(map(scalar, x.ravel().tolist()))
    if bits % 8:
        per = 8 * width // bits
        groups = zip(*(expected[k::per] for k in range(per)), strict=True)
        expected = [sum(code << bits * k for k, code in enumerate(one)) for one in groups]
    raw = b"".join(one.to_bytes(width, "little") for one in expected)
    agree(codes.tobytes(), raw, case)
    why = f"numbers of both signs at even steps over the whole range, {side.words}"
    task = ("encode", params, {"x": x})
    _add(
        writer,
        case,
        task,
        {"x": lanes},
        {plane: np.asarray(codes)},
        [feature("encode", scheme)],
        why,
    )


def _pairs(writer: PackWriter, side: Side) -> None:
    """Every product of two bytes, signed with signed or unsigned with signed."""
    dtype, kinds = ("i1", "s8s8") if side.above == 0 else ("u1", "u8s8")
    lanes = {"a": (Lane(1, step=1),), "b": (Lane(1, start=side.above, step=1),)}
    inputs = {
        "a": _counted(dtype, (256, 1), *lanes["a"]),
        "b": _counted("i1", (256, 1), *lanes["b"]),
    }
    found = perform(Task("integer_matmul", {}, inputs, {}))["accumulators"]
    expected = integers.accumulators(inputs["a"].tolist(), inputs["b"].tolist())
    case = f"integer_matmul.table-{side.label}"
    agree(found.ravel().tolist(), expected, case)
    task = ("integer_matmul", {}, inputs)
    why = "every product of two bytes"
    _add(writer, case, task, lanes, {"accumulators": found}, [f"integer_matmul.{kinds}"], why)


REQUANTIZED = (
    (Lane(4, -(1 << 15), 1), (1 << 30, -7), (0, -128, 127), np.int8),
    (Lane(4, -(1 << 31), 65537), (0x5A827999, -15), (3, -(1 << 15), (1 << 15) - 1), np.int16),
)
"""Accumulators, multiplier and shift, zero point and limits, and a type, for each side."""


def _requantized(writer: PackWriter, side: Side) -> None:
    lane, by, limits, dtype = REQUANTIZED[side.above]
    accumulators = _counted("<i4", (BLOCKS,), lane)
    inputs = {
        "accumulators": accumulators,
        "multiplier": np.array([by[0]], np.int32),
        "shift": np.array([by[1]], np.int32),
    }
    named = dict(zip(("zero_point", "low", "high"), limits, strict=True))
    for rounding in REQUANTIZERS:
        params = {"rounding": rounding, **named}
        codes = perform(Task("requantize", params, inputs, {}))["codes"].astype(dtype)
        case = f"requantize.{rounding}.table-{side.label}"
        scalar = [integers.requantized(x, rounding, by, limits) for x in accumulators.tolist()]
        agree(codes.tolist(), scalar, case)
        task, why = ("requantize", params, inputs), "65,536 accumulators at even steps"
        lanes = {"accumulators": (lane,)}
        _add(writer, case, task, lanes, {"codes": codes}, [f"requantize.{rounding}"], why)
