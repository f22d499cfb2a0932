"""Comparisons to the bit, with messages that a kernel author can act on."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.driver import Scheme
from refquant.errors import ConformanceError
from refquant.layout import Layout, field_codes, show
from refquant.layout.explain import block_extents, explain_block, formula_with
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor
from refquant.testing.case import Case
from refquant.testing.mistakes import probable_mistake, same_bits
from refquant.testing.packing_mistakes import probable_packing_mistake

__all__ = ["assert_bits_equal"]

F32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Planes = Mapping[str, bytes | Bytes]

MOST_DIAGNOSED = 1 << 20
"""Weights beyond which no probable mistake is searched for: readings of them take long."""


def assert_bits_equal(
    actual: ArrayLike | Planes | QuantizedTensor,
    expected: Case | QuantizedTensor | ArrayLike,
    *,
    scheme: str | Scheme | None = None,
) -> None:
    """Raise `ConformanceError` unless `actual` is what the definition says, to the bit.

    `actual` is decoded weights, or the planes of an encoded tensor (a mapping, a tensor, or the
    bytes of the only plane). `expected` is a case, a quantized tensor, or bare weights, whose
    `scheme` then only tells where blocks are. NaN equals NaN; -0.0 is not 0.0. The message names
    the first block that differs, its bytes, codes and scale, the worst element, and the probable
    mistake where a known one gives the same output.
    """
    if not isinstance(expected, Case | QuantizedTensor):
        found = find_scheme(scheme) if isinstance(scheme, str) else scheme
        bare = np.asarray(expected, np.float32)
        _compare_values(actual, bare, None, _name(found, None), found)
        return
    tensor = expected.tensor if isinstance(expected, Case) else expected
    name = _name(tensor.scheme, expected if isinstance(expected, Case) else None)
    planes = _as_planes(actual, tensor)
    if planes is not None:
        _compare_planes(planes, tensor, name)
    else:
        values = expected.values if isinstance(expected, Case) else tensor.dequantize()
        _compare_values(actual, values, tensor, name)


def _name(scheme: Scheme | None, case: Case | None) -> str:
    if case is not None:
        return f"{case.scheme.name} ({case.kind})"
    return scheme.name if scheme else "values"


def _as_planes(actual: object, tensor: QuantizedTensor) -> Planes | None:
    """The planes that were encoded, or None where `actual` is decoded weights."""
    if isinstance(actual, QuantizedTensor):
        return actual.planes
    if isinstance(actual, Mapping):
        return actual
    if isinstance(actual, bytes | bytearray | memoryview) or (
        isinstance(actual, np.ndarray) and actual.dtype == np.uint8
    ):
        if len(tensor.planes) > 1:
            raise ConformanceError(
                f"{tensor.scheme.name} has the planes {', '.join(tensor.planes)}, found the bytes "
                "of one; pass a mapping from their names to bytes"
            )
        (name,) = tensor.planes
        return {name: np.frombuffer(actual, np.uint8)}
    return None


# ------------------------------------------------------------------------------ decoded weights


def _compare_values(
    actual: object,
    expected: F32,
    tensor: QuantizedTensor | None,
    name: str,
    scheme: Scheme | None = None,
) -> None:
    found = np.asarray(actual)
    if found.dtype != np.float32:
        raise ConformanceError(f"{name}: values are {found.dtype}, expected float32")
    if found.shape != expected.shape and found.size == expected.size and found.ndim == 1:
        found = found.reshape(expected.shape)
    if found.shape != expected.shape:
        raise ConformanceError(
            f"{name}: values have shape {list(found.shape)}, expected {list(expected.shape)}"
        )
    found = np.ascontiguousarray(found)
    wrong = ~same_bits(found, np.ascontiguousarray(expected))
    if not wrong.any():
        return
    lines = [f"{name}: {wrong.sum():,} of {wrong.size:,} values differ from the definition"]
    if tensor is not None and tensor.scheme.operators:
        lines.append(f"  places are those of the layout, {list(tensor.expanded.shape)}")
        found, expected = tensor.arranged(found), tensor.arranged(expected)
        tensor, wrong = tensor.expanded, ~same_bits(found, expected)
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    if tensor is not None:
        lines += _block_lines(tensor, first)
    elif scheme is not None and expected.ndim:
        number, start = _block_of(scheme.layout, expected.shape, first)
        lines.append(f"  block {number}, which begins at {start}")
    lines.append(f"  first   {_difference(first, found, expected)}")
    worst = _worst(found, expected, wrong)
    if worst != first:
        lines.append(f"  worst   {_difference(worst, found, expected)}")
    if tensor is not None and found.size <= MOST_DIAGNOSED:
        mistake = probable_mistake(found, tensor)
        lines.append(f"  probable mistake: {mistake or 'none that is known gives this output'}")
    raise ConformanceError("\n".join(lines))


def _block_lines(tensor: QuantizedTensor, index: tuple[int, ...]) -> list[str]:
    """The block that holds a weight: its bytes, and the code and number of each field."""
    number, _ = _block_of(tensor.layout, tensor.shape, index)
    block = explain_block(tensor.layout, tensor.planes, tensor.shape, number)
    lines = [f"  block {number}, which begins at {list(block.start)}"]
    for plane, records in block.records.items():
        shown = " ".join(raw[:40].hex(" ") for _, raw in records[:16])
        more = " ..." if len(records) > 16 or len(records[0][1]) > 40 else ""
        lines.append(f"    plane {plane}: {shown}{more}")
    inside = tuple(i - s for i, s in zip(index, block.start, strict=True))
    spelled = {}
    for name, field in block.fields.items():
        code, real = field.at(inside)
        width = -(-field.element.bits // 4)
        mask = (1 << field.element.bits) - 1
        lines.append(f"    field {name}: code 0x{code & mask:0{width}x} = {real:.9g}")
        spelled[name] = f"{real:.9g}"
    value = tensor.layout.value
    lines.append(f"    value = {show(value)} = {formula_with(value, spelled)}")
    return lines


def _block_of(
    layout: Layout, shape: tuple[int, ...], index: tuple[int, ...]
) -> tuple[int, list[int]]:
    """The number of the block that holds a weight, and where it begins."""
    extents = block_extents(layout, shape)
    counts = [-(-n // e) for n, e in zip(shape, extents, strict=True)]
    place = [i // e for i, e in zip(index, extents, strict=True)]
    start = [p * e for p, e in zip(place, extents, strict=True)]
    return int(np.ravel_multi_index(place, counts)), start


def _difference(index: tuple[int, ...], actual: F32, expected: F32) -> str:
    a, e = actual[index], expected[index]
    bits = [int(np.asarray(v).view(np.uint32)) for v in (e, a)]
    return (
        f"at {list(index)}: expected {e!s} (0x{bits[0]:08x}), found {a!s} (0x{bits[1]:08x})"
        f"{_distance(a, e)}"
    )


def _distance(actual: np.float32, expected: np.float32) -> str:
    if not (np.isfinite(actual) and np.isfinite(expected)):
        return ""
    steps = [int(np.asarray(v).view(np.int32)) for v in (actual, expected)]
    ordered = [s if s >= 0 else -(s & 0x7FFFFFFF) for s in steps]
    distance = abs(ordered[0] - ordered[1])
    return f", {distance:,} ulp apart" if distance else ", another sign of zero"


def _worst(actual: F32, expected: F32, wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    """The element farthest from what it should be; one that is not finite is farther than any."""
    with np.errstate(all="ignore"):
        distance = np.abs(actual.astype(np.float64) - expected)
    distance[np.isnan(distance)] = np.inf
    distance[~wrong] = -1
    return tuple(int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))


# ------------------------------------------------------------------------------ encoded planes


def _compare_planes(actual: Planes, tensor: QuantizedTensor, name: str) -> None:
    if set(actual) != set(tensor.planes):
        raise ConformanceError(
            f"{name}: found planes {sorted(actual)}, expected {sorted(tensor.planes)}"
        )
    found = {}
    for plane, expected in tensor.planes.items():
        raw = np.frombuffer(np.ascontiguousarray(_bytes(actual[plane])), np.uint8)
        if raw.size != expected.size:
            raise ConformanceError(
                f"{name}: plane {plane} has {raw.size} bytes, expected {expected.size}"
            )
        found[plane] = raw.reshape(expected.shape)
    if all((found[plane] == tensor.planes[plane]).all() for plane in found):
        return
    theirs = QuantizedTensor(tensor.scheme, tensor.shape, found, tensor.axis).expanded
    lines = [f"{name}: encoded bytes differ from the definition"]
    lines += [_plane_line(plane, found[plane], tensor.planes[plane]) for plane in found]
    lines += _field_lines(theirs, tensor.expanded)
    mistake = probable_packing_mistake(theirs, tensor.expanded)
    lines.append(f"  probable mistake: {mistake or 'none that is known gives these bytes'}")
    raise ConformanceError("\n".join(lines))


def _bytes(raw: bytes | Bytes) -> Bytes:
    return raw if isinstance(raw, np.ndarray) else np.frombuffer(raw, np.uint8)


def _plane_line(plane: str, actual: Bytes, expected: Bytes) -> str:
    wrong = (actual != expected).any(axis=-1)
    if not wrong.any():
        return f"  plane {plane}: equal"
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"  plane {plane}: {int(wrong.sum()):,} of {wrong.size:,} records differ, the first at "
        f"{list(first)}\n"
        f"    expected {expected[first][:40].tobytes().hex(' ')}\n"
        f"    found    {actual[first][:40].tobytes().hex(' ')}"
    )


def _field_lines(actual: QuantizedTensor, expected: QuantizedTensor) -> list[str]:
    lines = []
    for name, field in expected.layout.fields.items():
        ours = field_codes(expected.layout, name, expected.planes[field.plane], expected.shape)
        theirs = field_codes(actual.layout, name, actual.planes[field.plane], actual.shape)
        wrong = ours != theirs
        if not wrong.any():
            lines.append(f"  field {name}: equal")
            continue
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        lines.append(
            f"  field {name}: {int(wrong.sum()):,} of {wrong.size:,} codes differ, the first at "
            f"{list(first)}: expected {int(ours[first])}, found {int(theirs[first])}"
        )
    return lines
