"""`refquant inspect`: what a model file holds, printed."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.output import (
    emit_json,
    format_bits,
    format_bytes,
    format_count,
    print_pairs,
    print_table,
    printable,
)
from refquant.cli.progress import status
from refquant.errors import RefquantError

if TYPE_CHECKING:
    from refquant.cli.summary import Summary, TensorFacts
    from refquant.formats.compute import MatrixContract

__all__ = ["inspect"]

_SHOWN_ELEMENTS = 8
_SHOWN_CHARACTERS = 200


def inspect(
    file: Annotated[
        str,
        Parameter(
            help="A .rq, .gguf or .safetensors file, a folder, a known name, or the web address "
            "of a .rq file."
        ),
    ],
    /,
    *,
    tensors: Annotated[bool, Parameter(help="List every tensor.")] = False,
    metadata: Annotated[bool, Parameter(help="Show all metadata, long values shortened.")] = False,
    digest: Annotated[
        bool, Parameter(help="Read every byte: check it, and print the digest of the tensors.")
    ] = False,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Show what a model file holds.

    Prints the architecture, tokenizer, schemes with their sizes and bits per weight, documents,
    digests and where the file came from. No weight is read, and files that cannot run here are
    shown as far as they are understood, with the reason. The root digest identifies a .rq file;
    the digest of the tensors (--digest) is the same for the same weights in any container. Of a
    file on the web only the front matter is fetched; shards are listed and not opened.

    For example:
      refquant inspect smollm2-135m
      refquant inspect small.rq --tensors
      refquant inspect model.gguf --metadata --json
    """
    from refquant.cli.summary import summarize
    from refquant.library import locate

    found = summarize(locate(file))
    tensors_digest = _digest(found) if digest else None
    if json:
        emit_json("inspect", _facts(found, tensors_digest, tensors=tensors, metadata=metadata))
    else:
        _print(found, tensors_digest)
        if tensors:
            _print_tensors(found.tensors, _matrix_contracts(found))
        if metadata:
            _print_metadata(found.metadata or found.info)
    if found.problem is not None:
        raise found.problem
    return 0


def _digest(found: "Summary") -> str | None:
    from refquant.formats.rq import read, tensors_digest

    if found.checkpoint is None or found.checkpoint.unreadable:
        return None
    with status(f"reading {found.path}"):
        if found.root:
            return tensors_digest(read(found.path, verify="full"))
        return tensors_digest(found.checkpoint)


def _print(found: "Summary", tensors_digest: str | None) -> None:
    weights = sum(one.weights for one in found.tensors)
    nbytes = sum(one.nbytes for one in found.tensors)
    bits = f", {format_bits(8 * nbytes / weights)} bits per weight" if weights else ""
    print_pairs(
        [
            ("file", f"{found.path}: {found.kind}, {format_bytes(found.nbytes)}"),
            ("architecture", _architecture(found)),
            ("tokenizer", found.tokenizer or None),
            ("weights", f"{format_count(weights)} in {len(found.tensors)} tensors{bits}"),
            *(("shard", f"{name}, {format_bytes(size)}, root {root}")
              for name, (size, root) in found.shards.items()),
            *(("tied", f"{name} is {of}") for name, of in found.aliases.items()),
            *(("document", f"{name}: {media}, {format_bytes(size)}")
              for name, (media, size) in found.documents.items()),
            *(("compute", f"{contract} for {count} tensors")
              for contract, count in _contracts(found).items()),
            ("precision", _precision(found)),
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


def _contracts(found: "Summary") -> dict[str, int]:
    """How many tensors are multiplied under each contract; the others are weight-only."""
    return {
        printable(str(name)): len(listed)
        for name, listed in _computing(found).items()
        if isinstance(listed, Sequence) and not isinstance(listed, str | bytes)
    }


def _matrix_contracts(found: "Summary") -> Mapping[str, "MatrixContract"]:
    """The contract of each tensor that has one; none where the file does not say it rightly."""
    from refquant.formats.compute import compute_contracts

    if found.checkpoint is None:
        return {}
    try:
        return compute_contracts(found.checkpoint.extensions, found.checkpoint.tensors)
    except RefquantError:
        return {}


def _precision(found: "Summary") -> str | None:
    """The type of the model's own numbers, where the file names one."""
    named = _computing(found).get("precision")
    return printable(named) if isinstance(named, str) else None


def _computing(found: "Summary") -> Mapping[str, object]:
    """What the file says of how it is computed, as far as it has the right form."""
    from refquant.formats.compute import COMPUTE_EXTENSION

    if found.checkpoint is None:
        return {}
    entry = found.checkpoint.extensions.get(COMPUTE_EXTENSION)
    data = entry.get("data") if isinstance(entry, Mapping) else None
    return data if isinstance(data, Mapping) else {}


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
            lines.append((label, ", ".join(f"{k} {v}" for k, v in entry.items())))
    return lines


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _print_schemes(tensors: Sequence["TensorFacts"]) -> None:
    rows = [
        (row["scheme"], row["tensors"], format_count(row["weights"]), format_bytes(row["bytes"]),
         format_bits(row["bits_per_weight"]))
        for row in _histogram(tensors)
    ]  # fmt: skip
    header = ("scheme", "tensors", "weights", "size", "bits/weight")
    print_table(header, rows, numeric=[1, 2, 3, 4])


def _histogram(tensors: Sequence["TensorFacts"]) -> list[dict[str, Any]]:
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


def _print_tensors(
    tensors: Sequence["TensorFacts"], contracts: Mapping[str, "MatrixContract"]
) -> None:
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


def _print_metadata(metadata: Mapping[str, Any]) -> None:
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


def _facts(
    found: "Summary", tensors_digest: str | None, *, tensors: bool, metadata: bool
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "path": found.path,
        "kind": found.kind,
        "bytes": found.nbytes,
        "architecture": {"family": found.family, "fields": dict(found.fields)}
        if found.family
        else None,
        "tokenizer": found.tokenizer or None,
        "tensor_count": len(found.tensors),
        "weights": sum(one.weights for one in found.tensors),
        "schemes": _histogram(found.tensors),
        "aliases": dict(found.aliases),
        "compute": _contracts(found),
        "precision": _precision(found),
        "documents": [
            {"name": name, "media": media, "bytes": size}
            for name, (media, size) in found.documents.items()
        ],
        "shards": [
            {"name": name, "bytes": size, "root": root}
            for name, (size, root) in found.shards.items()
        ],
        "root": found.root or None,
        "tensors_digest": tensors_digest,
        "provenance": found.info.get("provenance"),
        "obstacles": list(found.obstacles),
        "problem": None if found.problem is None else str(found.problem),
    }
    if tensors:
        contracts = _matrix_contracts(found)
        facts["tensors"] = [
            {
                "name": one.name,
                "scheme": one.scheme,
                "shape": list(one.shape),
                "bytes": one.nbytes,
                **({"compute": asdict(contracts[one.name])} if one.name in contracts else {}),
            }
            for one in found.tensors
        ]
    if metadata:
        facts["metadata"] = _cut(found.metadata or found.info)
    return facts


def _cut(value: object) -> object:
    """Metadata for JSON: arrays longer than a thousand are replaced by their length and start."""
    if isinstance(value, Mapping):
        return {str(key): _cut(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) > 1000:
            return {"length": len(value), "first": [_cut(value[i]) for i in range(8)]}
        return [_cut(entry) for entry in value]
    return value
