"""`refquant inspect`: what a model file holds, printed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.inspect_compute import contract_counts, matrix_contracts, precision_of
from refquant.cli.inspect_text import (
    by_scheme,
    chat_facts,
    print_metadata,
    print_summary,
    print_tensors,
)
from refquant.cli.output import emit_json
from refquant.cli.progress import status

if TYPE_CHECKING:
    from refquant.cli.summary import Summary

__all__ = ["inspect"]


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
        print_summary(found, tensors_digest)
        if tensors:
            print_tensors(found.tensors, matrix_contracts(found))
        if metadata:
            print_metadata(found.metadata or found.info)
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


def _facts(
    found: "Summary", tensors_digest: str | None, *, tensors: bool, metadata: bool
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "path": found.path,
        "kind": found.kind,
        "bytes": found.nbytes,
        "architecture": _architecture_facts(found),
        "tokenizer": found.tokenizer or None,
        "chat": chat_facts(found),
        "tensor_count": len(found.tensors),
        "weights": sum(one.weights for one in found.tensors),
        "schemes": by_scheme(found.tensors),
        "aliases": dict(found.aliases),
        "compute": contract_counts(found),
        "precision": precision_of(found),
        **_part_facts(found),
        "root": found.root or None,
        "tensors_digest": tensors_digest,
        "provenance": found.info.get("provenance"),
        "obstacles": list(found.obstacles),
        "problem": None if found.problem is None else str(found.problem),
    }
    if tensors:
        facts["tensors"] = _tensor_facts(found)
    if metadata:
        facts["metadata"] = _cut(found.metadata or found.info)
    return facts


def _architecture_facts(found: "Summary") -> dict[str, Any] | None:
    if not found.family:
        return None
    return {"family": found.family, "fields": dict(found.fields)}


def _part_facts(found: "Summary") -> dict[str, Any]:
    """The documents inside the file and the shards beside it."""
    return {
        "documents": [
            {"name": name, "media": media, "bytes": size}
            for name, (media, size) in found.documents.items()
        ],
        "shards": [
            {"name": name, "bytes": size, "root": root}
            for name, (size, root) in found.shards.items()
        ],
    }


def _tensor_facts(found: "Summary") -> list[dict[str, Any]]:
    contracts = matrix_contracts(found)
    return [
        {
            "name": one.name,
            "scheme": one.scheme,
            "shape": list(one.shape),
            "bytes": one.nbytes,
            **({"compute": asdict(contracts[one.name])} if one.name in contracts else {}),
        }
        for one in found.tensors
    ]


def _cut(value: object) -> object:
    """Metadata for JSON: arrays longer than a thousand are replaced by their length and start."""
    if isinstance(value, Mapping):
        return {str(key): _cut(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) > 1000:
            return {"length": len(value), "first": [_cut(value[i]) for i in range(8)]}
        return [_cut(entry) for entry in value]
    return value
