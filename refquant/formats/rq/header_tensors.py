"""What a header says of tensors: their layouts, their planes' segments, and tied names."""

from collections.abc import Sequence
from math import prod
from typing import Final

from refquant.errors import FormatError, SchemeError
from refquant.formats.rq import schema
from refquant.formats.rq.limits import (
    MAX_ALIASES,
    MAX_RECORD_BYTES,
    MAX_SCHEMES,
    MAX_TENSORS,
    MAX_WEIGHTS_PER_BYTE,
    SMALL_TENSOR,
)
from refquant.formats.rq.records import Pieces, TensorRecord
from refquant.formats.rq.references import References
from refquant.formats.rq.segments import KIND_PLANE
from refquant.schemes.storage import AnyLayout, inner_shape, parse_layout

__all__ = ["parse_aliases", "parse_layouts", "parse_tensors", "plane_bytes"]

_TENSOR_KEYS: Final = frozenset({"name", "planes", "scheme", "shape"})


def parse_layouts(value: object) -> tuple[AnyLayout, ...]:
    """The layouts, each once, of records that are not too large."""
    layouts: list[AnyLayout] = []
    known: set[str] = set()
    size = 0
    for index, description in enumerate(schema.items(value, "$.core.schemes", MAX_SCHEMES)):
        where = f"$.core.schemes[{index}]"
        layout = parse_layout(description, where)
        if layout.digest in known:
            raise FormatError("E_DUP", "the same layout stands here twice", where=where)
        known.add(layout.digest)
        size += sum(plane.bytes for plane in layout.planes.values())
        if size > MAX_RECORD_BYTES:
            message = f"records of {size} bytes so far, at most {MAX_RECORD_BYTES} may be"
            raise FormatError("E_LIMIT", message, where=where)
        layouts.append(layout)
    return tuple(layouts)


def parse_tensors(
    value: object, layouts: Sequence[AnyLayout], references: References
) -> tuple[TensorRecord, ...]:
    """The tensors by name, with layouts in the order of their first use."""
    tensors: list[TensorRecord] = []
    previous, used = "", 0
    for index, entry in enumerate(schema.items(value, "$.core.tensors", MAX_TENSORS)):
        where = f"$.core.tensors[{index}]"
        found = schema.entries(entry, where, _TENSOR_KEYS, frozenset())
        name = schema.name(found["name"], f"{where}.name")
        schema.increasing(previous, name, f"{where}.name")
        shape = schema.shape(found["shape"], f"{where}.shape")
        scheme = _scheme_index(found["scheme"], len(layouts), used, f"{where}.scheme")
        used = max(used, scheme + 1)
        planes, size = _planes(
            found["planes"], layouts[scheme], shape, references, f"{where}.planes"
        )
        _check_density(inner_shape(layouts[scheme], shape), size, f"{where}.shape")
        tensors.append(TensorRecord(name, shape, scheme, planes))
        previous = name
    if used < len(layouts):
        message = "no tensor has this scheme"
        raise FormatError("E_UNREF", message, where=f"$.core.schemes[{used}]")
    return tuple(tensors)


def _check_density(shape: tuple[int, ...], size: int, where: str) -> None:
    """Refuse a few bytes that claim to be a huge tensor, which to decode would fill any memory."""
    if prod(shape) > max(MAX_WEIGHTS_PER_BYTE * size, SMALL_TENSOR):
        message = f"{prod(shape)} weights in {size} bytes, at most {MAX_WEIGHTS_PER_BYTE} a byte"
        raise FormatError("E_LIMIT", message, where=where)


def _scheme_index(value: object, count: int, used: int, where: str) -> int:
    index = schema.integer(value, where)
    if not 0 <= index < count:
        raise FormatError("E_REF", f"scheme {index} of {count}", where=where)
    if index > used:
        message = f"scheme {index} before scheme {used}; they are listed by first use"
        raise FormatError("E_ORDER", message, where=where)
    return index


def _planes(
    value: object, layout: AnyLayout, shape: tuple[int, ...], references: References, where: str
) -> tuple[dict[str, Pieces], int]:
    """The pieces of each plane, and the decoded bytes of all together."""
    found = schema.entries(value, where)
    if found.keys() != layout.planes.keys():
        message = f"planes {sorted(found)}, expected {sorted(layout.planes)}"
        raise FormatError("E_PLANES", message, where=where)
    planes: dict[str, Pieces] = {}
    total = 0
    for plane in found:
        place = f"{where}.{plane}"
        pieces = references.take(found[plane], KIND_PLANE, place)
        expected = plane_bytes(layout, plane, shape, where)
        # What lies in a shard is compared when the shard is opened.
        if pieces.file == 0:
            size = references.raw_bytes(pieces)
            if size != expected:
                message = f"{size} bytes, but shape {list(shape)} takes {expected}"
                raise FormatError("E_PLANE_SIZE", message, where=place)
            references.check_cut(pieces, place)
        planes[plane] = pieces
        total += expected
    return planes, total


def plane_bytes(layout: AnyLayout, plane: str, shape: tuple[int, ...], where: str) -> int:
    """Decoded bytes that a plane takes; a FormatError where the shape does not fit."""
    try:
        return layout.plane_nbytes(plane, shape)
    except SchemeError as error:
        raise FormatError("E_DESC_RANK", str(error), where=where) from error


def parse_aliases(value: object, tensors: Sequence[TensorRecord]) -> dict[str, str]:
    """Names of tied weights, each with the tensor that it is."""
    names = {tensor.name for tensor in tensors}
    aliases: dict[str, str] = {}
    previous = ""
    listed = schema.present(schema.items(value, "$.core.alias", MAX_ALIASES), "$.core.alias")
    for index, entry in enumerate(listed):
        where = f"$.core.alias[{index}]"
        found = schema.entries(entry, where, frozenset({"name", "of"}), frozenset())
        name = schema.name(found["name"], f"{where}.name")
        schema.increasing(previous, name, f"{where}.name")
        if name in names:
            raise FormatError("E_DUP", f"{name[:80]!r} is a tensor", where=f"{where}.name")
        target = schema.text(found["of"], f"{where}.of")
        if target not in names:
            raise FormatError("E_REF", f"{target[:80]!r} is no tensor", where=f"{where}.of")
        aliases[name] = target
        previous = name
    return aliases
