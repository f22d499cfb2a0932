"""Packs about reading: planes to values, planes to codes, codes to planes."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.generators.agreement import check_codes, check_values
from conformance.generators.names import feature, slug
from conformance.generators.writer import NAN_FREE, PackWriter, Values
from refquant.driver import Scheme
from refquant.errors import RefquantError
from refquant.layout import field_codes, pack_codes
from refquant.layout.records import code_dtype
from refquant.schemes.floats import FLOAT16
from refquant.tensor import QuantizedTensor
from refquant.testing import SplitMix64, cases_of, fitting_shape
from refquant.testing.case import _every_code, _special_scales

__all__ = ["decoded", "decoded_bytes", "read_codes", "written_codes"]

WHY = {
    "every code": "every code in a scrambled order, and no two parameters alike",
    "special scales": "scales that are zero of either sign, subnormal, negative, or the largest",
    "axis": "groups along the first axis",
    "groups": "two groups a row, with parameters that differ",
    "tail": "a group cut short",
    "scale bytes": "every scale byte about which implementations differ",
    "scale bytes again": "every scale byte about which implementations differ, other codes",
    "scale halves": "scales in binary16 that are subnormal, NaN or infinite",
    "scale halves again": "scales in binary16 that are subnormal, NaN or infinite, other codes",
    "any bytes": "random bytes: scales of every kind, NaN and infinities among them",
}
POWER_BYTES = (0, 1, 2, 126, 127, 128, 200, 254, 255)
FLOAT_BYTES = (0, 1, 3, 7, 8, 126, 127, 128, 129, 254, 255)
SCALE_BYTES: Mapping[str, tuple[str, Sequence[int]]] = {
    "ggml/mxfp4": ("e", (0, 1, 2, 126, 128, 253, 254, 255)),
    "ggml/nvfp4": ("s", (0, 1, 8, 126, 127, 128, 254, 255)),
    "mx/mxfp4[scale=floor]": ("s", POWER_BYTES),
    "ct/mxfp4": ("s", POWER_BYTES),
    "mlx/mxfp4[scale=ceil]": ("s", POWER_BYTES),
    "mx/nvfp4[convention=modelopt]": ("s", FLOAT_BYTES),
    "ct/nvfp4": ("s", FLOAT_BYTES),
    "mlx/nvfp4": ("s", FLOAT_BYTES),
}
"""The field of scales that are bytes, and the bytes about whose meaning implementations differ."""

HALVES: Mapping[int, tuple[Sequence[int], Sequence[int]]] = {
    32: ((0x03FF, 0x7E00, 0x8155, 0xFC00), (0xFE01, 0x8001, 0x7C00, 0x02AA)),
    64: ((0x03FF, 0x7E00), (0xFE01, 0x82AB)),
    128: ((0x03FF, 0x7E00), (0xFE01, 0x82AB)),
    256: ((0x03FF, 0x7E00), (0xFE01, 0x82AB)),
}
"""By the weights of a block of ggml, scales for the first case and for the second."""

FLAGS = {"every code": "EveryCode", "special scales": "SpecialScale", "any bytes": "AnyBytes"}
Bytes = NDArray[np.uint8]


def decoded(writer: PackWriter, scheme: Scheme) -> None:
    """Decode cases of one scheme: every code, special scales, a tail."""
    _add_kinds(writer, scheme, ("every code", "special scales"))
    _add_scale_bytes(writer, scheme, 115)
    _add_scale_halves(writer, scheme, again=False)
    for kind, tensor in _tails(scheme):
        _add_decode(writer, kind, tensor, "Tail")


def decoded_bytes(writer: PackWriter, scheme: Scheme) -> None:
    """Decode cases in another group: any bytes, several groups, groups along the first axis."""
    _add_kinds(writer, scheme, ("any bytes",))
    _add_scale_bytes(writer, scheme, 116)
    _add_scale_halves(writer, scheme, again=True)
    rows, width = fitting_shape(scheme, 2)[-2:]
    if len(fitting_shape(scheme, 2)) == 2:
        shape = (rows, 2 * width)
        tensor = QuantizedTensor(scheme, shape, _every_code(scheme.layout, shape))
        _add_decode(writer, "groups", tensor, "EveryCode")
    for kind, tensor in _turned(scheme):
        _add_decode(writer, kind, tensor, "Axis")


def _add_kinds(writer: PackWriter, scheme: Scheme, kinds: Sequence[str]) -> None:
    for case in cases_of(scheme):
        if case.x is None and case.kind in kinds:
            _add_decode(writer, case.kind, case.tensor, FLAGS[case.kind])


def _add_scale_bytes(writer: PackWriter, scheme: Scheme, seed: int) -> None:
    """Scales that are looked up, where a format gives some of their codes a meaning of its own."""
    if scheme.name not in SCALE_BYTES:
        return
    name, odd = SCALE_BYTES[scheme.name]
    plane = scheme.layout.fields[name].plane
    shape = (1, scheme.layout.fields[name].over[-1] * len(odd))
    again = seed != 115
    if plane == "blocks":
        planes = _within(scheme, name, odd, seed)
    else:
        scales = np.array(odd[::-1] if again else odd, np.uint8)
        planes = {**_every_code(scheme.layout, shape), plane: scales.reshape(1, -1, 1)}
    tensor = QuantizedTensor(scheme, shape, planes)
    kind = "scale bytes again" if again else "scale bytes"
    _add_decode(writer, kind, tensor, "SpecialScale")


def _within(scheme: Scheme, name: str, odd: Sequence[int], seed: int) -> dict[str, Bytes]:
    """Blocks of random codes that begin with these scales."""
    plane, over = scheme.planes["blocks"], scheme.layout.fields[name].over[-1]
    count = over * len(odd) // plane.block[0]
    raw = np.frombuffer(SplitMix64(seed).data(count * plane.bytes), np.uint8)
    records = raw.reshape(1, -1, plane.bytes).copy()
    records[..., : plane.block[0] // over] = np.reshape(odd, (1, count, -1))
    return {"blocks": records}


def _add_scale_halves(writer: PackWriter, scheme: Scheme, *, again: bool) -> None:
    """Scales of ggml's blocks that readers of binary16 take for something else."""
    layout = scheme.layout
    scale = layout.fields.get("d")
    if not scheme.name.startswith("ggml/") or scale is None or scale.element != FLOAT16:
        return
    plane = scheme.planes["blocks"]
    halves = HALVES[plane.block[0]][again]
    shape = (1, plane.block[0] * len(halves))
    planes = _every_code(layout, shape)
    if again:
        raw = np.frombuffer(SplitMix64(117).data(planes["blocks"].size), np.uint8)
        planes = {"blocks": raw.reshape(planes["blocks"].shape).copy()}
    pack_codes(layout, "d", np.array([halves], np.uint16), planes["blocks"], shape)
    kind = "scale halves again" if again else "scale halves"
    _add_decode(writer, kind, QuantizedTensor(scheme, shape, planes), "SpecialScale")


def _add_decode(writer: PackWriter, kind: str, tensor: QuantizedTensor, flag: str) -> None:
    scheme = tensor.scheme
    values = tensor.dequantize()
    name = f"{slug(scheme)}.decode.{kind.replace(' ', '-')}"
    if not scheme.operators:
        check_values(tensor, values, name)
    extra = [kind] if kind in ("axis", "tail") else []
    writer.add(
        name,
        "decode",
        _params(tensor),
        _flat(tensor.planes),
        {"values": values},
        features=[feature("decode", scheme), *extra],
        cmp={"values": NAN_FREE},
        flags=(flag,),
        why=WHY[kind],
    )


def _params(tensor: QuantizedTensor) -> dict[str, object]:
    axis = -1 if tensor.axis == len(tensor.shape) - 1 else tensor.axis
    return {"scheme": tensor.scheme.name, "shape": list(tensor.shape), "axis": axis}


def _flat(planes: Mapping[str, Bytes]) -> dict[str, Values]:
    """Planes as arrays: the grid's axes, then the bytes of a record."""
    return {name: np.asarray(records) for name, records in planes.items()}


def _turned(scheme: Scheme) -> Iterator[tuple[str, QuantizedTensor]]:
    """The same codes with the groups along the first axis, where a scheme's blocks can turn."""
    if scheme.operators:
        return
    rows, width = fitting_shape(scheme, 3)[-2:]
    try:
        layout = scheme.layout.along(0, 2)
        shape = (width, rows)
        yield "axis", QuantizedTensor(scheme, shape, _every_code(layout, shape), 0)
    except RefquantError:
        return


def _tails(scheme: Scheme) -> Iterator[tuple[str, QuantizedTensor]]:
    """A last group of one weight less than half, where a scheme allows groups cut short."""
    if not scheme.ragged or scheme.operators:
        return
    rows, width = fitting_shape(scheme, 2)[-2:]
    shape = (rows, width + width // 2 - 1)
    x = SplitMix64(105).bell(*shape)
    if scheme.can_encode:
        yield "tail", refquant.quantize(x, scheme)


def read_codes(writer: PackWriter, scheme: Scheme) -> None:
    """Planes to codes: one case, of tame parameters and every code."""
    tensor, codes = _with_codes(scheme, "unpack", _special_scales)
    writer.add(
        f"{slug(scheme)}.unpack.every-code",
        "unpack",
        _params(tensor),
        _flat(tensor.planes),
        _typed(tensor, codes),
        features=[feature("unpack", scheme)],
        flags=("EveryCode",),
        why="each code comes from its own bits",
    )


def written_codes(writer: PackWriter, scheme: Scheme) -> None:
    """Codes to planes: one case."""
    tensor, codes = _with_codes(scheme, "pack", _every_code)
    writer.add(
        f"{slug(scheme)}.pack.every-code",
        "pack",
        _params(tensor),
        _typed(tensor, codes),
        _flat(tensor.planes),
        features=[feature("pack", scheme)],
        flags=("EveryCode",),
        why="each code goes to its own bits, and spare bits are zero",
    )


def _with_codes(
    scheme: Scheme, what: str, make: object
) -> tuple[QuantizedTensor, dict[str, NDArray[np.integer]]]:
    shape = fitting_shape(scheme, 2)
    if len(shape) == 2:
        shape = (shape[0], 2 * shape[1])
    planes = make(scheme.layout, shape)  # type: ignore[operator]
    tensor = QuantizedTensor(scheme, shape, planes)
    layout = tensor.layout
    codes = {
        name: np.asarray(field_codes(layout, name, tensor.planes[field.plane], shape))
        for name, field in layout.fields.items()
    }
    check_codes(tensor, codes, f"{slug(scheme)}.{what}")
    return tensor, codes


def _typed(tensor: QuantizedTensor, codes: Mapping[str, NDArray[np.integer]]) -> dict[str, Values]:
    fields = tensor.layout.fields
    return {name: one.astype(code_dtype(fields[name].element)) for name, one in codes.items()}
