"""What `refquant inspect` shows, as text."""

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from refquant.cli.inspect_compute import contract_counts, precision_of
from refquant.cli.output import (
    format_bits,
    format_bytes,
    format_count,
    print_pairs,
    print_table,
    printable,
)

if TYPE_CHECKING:
    from refquant.cli.summary import Summary, TensorFacts
    from refquant.formats.compute import MatrixContract

__all__ = ["by_scheme", "chat_facts", "print_metadata", "print_summary", "print_tensors"]

_SHOWN_ELEMENTS = 8
_SHOWN_CHARACTERS = 200


def print_summary(found: "Summary", tensors_digest: str | None) -> None:
    """The file, its model and what it is made of, then its schemes."""
    weights = sum(one.weights for one in found.tensors)
    nbytes = sum(one.nbytes for one in found.tensors)
    bits = f", {format_bits(8 * nbytes / weights)} bits per weight" if weights else ""
    print_pairs(
        [
            ("file", f"{found.path}: {found.kind}, {format_bytes(found.nbytes)}"),
            ("architecture", _architecture(found)),
            ("tokenizer", found.tokenizer or None),
            ("chat", ", ".join(sorted(chat["turns"])) if (chat := chat_facts(found)) else None),
            ("weights", f"{format_count(weights)} in {len(found.tensors)} tensors{bits}"),
            *(("shard", f"{name}, {format_bytes(size)}, root {root}")
              for name, (size, root) in found.shards.items()),
            *(("tied", f"{name} is {of}") for name, of in found.aliases.items()),
            *(("document", f"{name}: {media}, {format_bytes(size)}")
              for name, (media, size) in found.documents.items()),
            *(("compute", f"{contract} for {count} tensors")
              for contract, count in contract_counts(found).items()),
            ("precision", precision_of(found)),
            *_origin(found.info.get("provenance")),
            ("compression", _compression(found.metadata.get("compression"))),
            ("root", found.root or None),
            ("tensors digest", tensors_digest),
            *(("cannot run", reason) for reason in found.obstacles),
        ]
    )  # fmt: skip
    if found.tensors:
        print()
        _print_schemes(found.tensors)


def chat_facts(found: "Summary") -> dict[str, Any] | None:
    """The strings around the messages of a conversation, by who speaks; None: there are none."""
    chat = None if found.checkpoint is None else found.checkpoint.chat
    if chat is None:
        return None
    turns = {role: list(strings) for role, strings in sorted(chat.turns.items())}
    return {"turns": turns, "start": chat.start, "prompt": chat.prompt}


def _architecture(found: "Summary") -> str | None:
    if not found.family:
        return None
    fields = ", ".join(f"{name} {_short(value)}" for name, value in found.fields.items())
    return f"{found.family}: {fields}"


def _compression(record: object) -> str | None:
    return _short(record) if isinstance(record, Mapping) else None


def _origin(provenance: object) -> list[tuple[str, object]]:
    """Lines about where a file came from: its sources, what was asked for, by which version."""
    if not isinstance(provenance, Mapping):
        return []
    lines: list[tuple[str, object]] = []
    for source in _maps(provenance.get("sources")):
        size = source.get("bytes")
        digest = source.get("sha256")
        about = [format_bytes(size) if isinstance(size, int) else "",
                 f"SHA-256 {digest}" if digest else ""]  # fmt: skip
        lines.append(("made from", ", ".join([str(source.get("name")), *filter(None, about)])))
    for name in ("recipe", "tool"):
        entry = provenance.get(name)
        if isinstance(entry, Mapping):
            label = "made with" if name == "tool" else name
            lines.append((label, ", ".join(_counted(key, one) for key, one in entry.items())))
    return lines


def _counted(name: str, value: object) -> str:
    """A name and its value, of which a list is only counted: --json has all of it."""
    return f"{len(value)} {name}" if isinstance(value, list) else f"{name} {value}"


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _print_schemes(tensors: Sequence["TensorFacts"]) -> None:
    rows = [
        (row["scheme"], row["tensors"], format_count(row["weights"]), format_bytes(row["bytes"]),
         format_bits(row["bits_per_weight"]))
        for row in by_scheme(tensors)
    ]  # fmt: skip
    header = ("scheme", "tensors", "weights", "size", "bits/weight")
    print_table(header, rows, numeric=[1, 2, 3, 4])


def by_scheme(tensors: Sequence["TensorFacts"]) -> list[dict[str, Any]]:
    """One row a scheme, the largest first."""
    groups: dict[str, list[TensorFacts]] = {}
    for one in tensors:
        groups.setdefault(one.scheme, []).append(one)
    rows: list[dict[str, Any]] = [
        {
            "scheme": scheme,
            "tensors": len(members),
            "weights": sum(one.weights for one in members),
            "bytes": sum(one.nbytes for one in members),
        }
        for scheme, members in groups.items()
    ]
    for row in rows:
        row["bits_per_weight"] = 8 * row["bytes"] / max(row["weights"], 1)
    return sorted(rows, key=lambda row: (-row["bytes"], row["scheme"]))


def print_tensors(
    tensors: Sequence["TensorFacts"], contracts: Mapping[str, "MatrixContract"]
) -> None:
    """One row for each tensor, with its contract where any has one."""
    print()
    header = ["tensor", "scheme", "shape", "size", "bits/weight"]
    rows = [
        [one.name, one.scheme, " x ".join(map(str, one.shape)), format_bytes(one.nbytes),
         format_bits(8 * one.nbytes / max(one.weights, 1))]
        for one in tensors
    ]  # fmt: skip
    if contracts:
        header.append("compute")
        for one, row in zip(tensors, rows, strict=True):
            row.append(_contract(contracts.get(one.name)))
    print_table(header, rows, numeric=[3, 4])


def _contract(own: "MatrixContract | None") -> str:
    """A contract's name, and the scales and zero points of a static one."""
    if own is None or own.parameters is None:
        return "" if own is None else own.name
    known = own.parameters
    given = f"{known.input_scale:.4g} around {known.input_zero_point}"
    taken = f"{known.output_scale:.4g} around {known.output_zero_point}"
    return f"{own.name}, in {given}, out {taken}"


def print_metadata(metadata: Mapping[str, Any]) -> None:
    """All metadata, long values shortened."""
    print()
    print_pairs((name, _short(value)) for name, value in metadata.items())


def _short(value: object) -> str:
    """A value on one line: long texts and arrays are cut, and say how long they are."""
    if isinstance(value, str):
        text = printable(value)
        if len(text) > _SHOWN_CHARACTERS:
            return f"{text[:_SHOWN_CHARACTERS]}... ({len(value)} characters)"
        return text
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        first = ", ".join(_short(value[i]) for i in range(min(len(value), _SHOWN_ELEMENTS)))
        return f"[{first}]" if len(value) <= _SHOWN_ELEMENTS else f"[{first}, ...] ({len(value)})"
    return _digits(value) if isinstance(value, float) else str(value)


def _digits(value: float) -> str:
    """The fewest digits that give the number back; most were binary32 before they were written."""
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        try:
            (narrow,) = struct.unpack("<f", struct.pack("<f", float(text)))
        except OverflowError:
            break
        if narrow == value:
            return repr(float(text))
    return repr(value)
