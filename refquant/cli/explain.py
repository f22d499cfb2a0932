"""`refquant explain`: one block of a tensor, from its bytes to its values."""

from difflib import get_close_matches
from math import isfinite, prod
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.output import emit_json, print_pairs, print_table
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.layout.explain import BlockReading
    from refquant.tensor import QuantizedTensor

__all__ = ["explain"]

_SHOWN = 32
_BYTES_A_LINE = 16
_LINES_A_FIELD = 16


def explain(
    what: Annotated[str, Parameter(help="A scheme's name; or a model file, folder or known name.")],
    tensor: Annotated[str | None, Parameter(help="A tensor of that file.")] = None,
    /,
    *,
    block: Annotated[int, Parameter(help="Which block, counted along the last axis first.")] = 0,
    all_weights: Annotated[
        bool, Parameter(name="--all", help="Show every weight of the block, not the first 32.")
    ] = False,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Take a block apart: its bytes, the fields in them, their codes, and each value's formula.

    With a scheme's name, an example block is shown in which every code occurs. With a file and a
    tensor, the block that is stored there. Where a tensor's planes have blocks of several sizes,
    a block is the smallest part that holds whole ones of each.

    For example:
      refquant explain ggml/q4_0
      refquant explain model.gguf blk.0.attn_q.weight --block 17
      refquant explain small.rq blk.0.ffn_up.weight --all --json
    """
    from refquant.layout.explain import block_count, explain_block

    stored = _example(what) if tensor is None else _stored(what, tensor)
    # Where operators stand between planes and layout, blocks are those behind them.
    steps, found = [step.title for step in stored.scheme.operators], stored.expanded
    count = block_count(found.layout, found.shape)
    if not 0 <= block < count:
        raise UsageError(f"no block {block}: the tensor has the blocks 0 to {count - 1}")
    reading = explain_block(found.layout, found.planes, found.shape, block)
    if json:
        facts = _facts(found, reading, tensor, block, count)
        emit_json("explain", facts | ({"behind": steps} if steps else {}))
    else:
        if steps:
            print_pairs([("stored as", f"{'; '.join(steps)}; the blocks behind that are:")])
        _print(found, reading, tensor, block, count, everything=all_weights)
    return 0


def _example(name: str) -> "QuantizedTensor":
    """A tensor of the scheme in which every code occurs."""
    from pathlib import Path

    from refquant.schemes import scheme
    from refquant.testing import cases_of

    try:
        found = scheme(name)
    except UsageError as error:
        if name and Path(name).exists():
            raise UsageError(
                f"{name} is a file: name one of its tensors; {_listing(name)} shows them"
            ) from error
        raise
    return next(c for c in cases_of(found, edge=False) if "decode" in c.flags).tensor


def _stored(file: str, name: str) -> "QuantizedTensor":
    from refquant.formats import open_checkpoint
    from refquant.library import locate

    checkpoint = open_checkpoint(locate(file))
    stored = checkpoint.aliases.get(name, name)
    if stored not in checkpoint.tensors:
        near = get_close_matches(name, list(checkpoint.tensors), 3, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"{file} has no tensor {name!r}{hint}; {_listing(file)} shows all")
    return checkpoint.tensors[stored]


def _listing(file: str) -> str:
    return f"`refquant inspect {quote(file)} --tensors`"


def _print(
    tensor: "QuantizedTensor",
    reading: "BlockReading",
    name: str | None,
    block: int,
    count: int,
    *,
    everything: bool,
) -> None:
    from refquant.layout import show

    shape = " × ".join(map(str, tensor.shape))
    print_pairs(
        [
            ("tensor", f"{name}, {shape}" if name else None),
            ("scheme", f"{tensor.scheme.name}: {tensor.scheme.title}"),
            ("block", f"{block} of {count}, which begins at {list(reading.start)}"),
            ("value", show(tensor.layout.value)),
        ]
    )
    for plane in reading.records:
        _print_plane(tensor, reading, plane, everything=everything)
    print()
    shown = reading.values.size if everything else _SHOWN
    _print_weights(tensor, reading, shown)
    if reading.values.size > shown:
        print(f"{reading.values.size - shown} more weights: add --all")


def _print_plane(
    tensor: "QuantizedTensor", reading: "BlockReading", plane: str, *, everything: bool
) -> None:
    """The bytes of a plane's records, each run beside the fields whose bits it holds."""
    from refquant.layout.explain import byte_ranges

    records = reading.records[plane]
    runs = byte_ranges(tensor.layout, plane)
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    print(f"\nplane {plane}, record {list(records[0][0])}{more}")
    if len(runs) == 1 and len(records) > 1:
        whole = b"".join(raw for _, raw in records)
        _print_bytes(whole, 0, ", ".join(runs[0][1]), everything=everything)
        return
    for span, fields in runs:
        raw = records[0][1][span.start : span.stop]
        _print_bytes(raw, span.start, ", ".join(fields) or "unused", everything=everything)


def _print_bytes(raw: bytes, first: int, fields: str, *, everything: bool) -> None:
    most = len(raw) if everything else _BYTES_A_LINE * _LINES_A_FIELD
    for offset in range(0, min(len(raw), most), _BYTES_A_LINE):
        line = raw[offset : offset + _BYTES_A_LINE].hex(" ")
        label = fields if offset == 0 else ""
        print(f"  {first + offset:<6}{line:<{3 * _BYTES_A_LINE + 1}}{label}".rstrip())
    if len(raw) > most:
        print(f"  ...   {len(raw) - most} more bytes: add --all")


def _print_weights(tensor: "QuantizedTensor", reading: "BlockReading", shown: int) -> None:
    from refquant.layout.explain import formula_with

    rows = []
    for place in _places(reading)[:shown]:
        spelled, cells = {}, []
        for name, field in reading.fields.items():
            code, real = field.at(place)
            mask = (1 << field.element.bits) - 1
            cells.append(f"0x{code & mask:0{-(-field.element.bits // 4)}x}")
            spelled[name] = f"{real:.9g}"
        index = [s + p for s, p in zip(reading.start, place, strict=True)]
        formula = formula_with(tensor.layout.value, spelled)
        rows.append((index, *cells, formula, f"{float(reading.values[place]):.9g}"))
    numeric = [*range(1, len(reading.fields) + 1), len(reading.fields) + 2]
    print_table(("weight", *reading.fields, "formula", "value"), rows, numeric=numeric)


def _places(reading: "BlockReading") -> list[tuple[int, ...]]:
    from itertools import product

    return list(product(*map(range, reading.values.shape)))


def _facts(
    tensor: "QuantizedTensor",
    reading: "BlockReading",
    name: str | None,
    block: int,
    count: int,
) -> dict[str, Any]:
    from refquant.layout import show

    return {
        "tensor": name,
        "shape": list(tensor.shape),
        "axis": tensor.axis,
        "scheme": tensor.scheme.name,
        "descriptor": tensor.scheme.digest,
        "formula": show(tensor.layout.value),
        "block": block,
        "blocks": count,
        "start": list(reading.start),
        "weights": prod(reading.values.shape),
        "planes": _plane_facts(tensor, reading),
        "fields": _field_facts(reading),
        "values": _plain(reading.values.tolist()),
    }


def _plane_facts(tensor: "QuantizedTensor", reading: "BlockReading") -> dict[str, Any]:
    """The bytes of each plane's records, and which fields' bits each run of them holds."""
    from refquant.layout.explain import byte_ranges

    return {
        plane: {
            "bytes": [
                {"from": span.start, "to": span.stop - 1, "fields": list(fields)}
                for span, fields in byte_ranges(tensor.layout, plane)
            ],
            "records": [{"place": list(p), "hex": raw.hex()} for p, raw in records],
        }
        for plane, records in reading.records.items()
    }


def _field_facts(reading: "BlockReading") -> dict[str, Any]:
    return {
        field.name: {
            "plane": field.plane,
            "weights_per_code": list(field.over),
            "codes": field.codes.tolist(),
            "numbers": _plain(field.numbers.tolist()),
        }
        for field in reading.fields.values()
    }


def _plain(value: Any) -> Any:
    """Numbers that JSON has: NaN and infinities become their names."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isfinite(value) else str(value)
