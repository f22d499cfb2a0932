"""`refquant verify`: a `.rq` file checked to the last byte, or made again and compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.output import emit_json, format_bytes, print_pairs, print_table
from refquant.cli.progress import advancing, progress
from refquant.errors import ConformanceError, RefquantError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.formats.rq import Contents, Source

__all__ = ["verify"]


@dataclass(slots=True)
class _Report:
    """What has been established, and what is wrong."""

    facts: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def verify(
    file: Annotated[str, Parameter(help="A .rq file, a known name, or a .rq file's web address.")],
    /,
    *,
    deep: Annotated[
        bool, Parameter(help="Also decode every tensor, and check texts, tokenizer and model.")
    ] = False,
    rederive: Annotated[
        str | None, Parameter(help="Quantize this source again by the recorded recipe; compare.")
    ] = None,
    no_mmap: Annotated[
        bool, Parameter(help="Read with plain reads, as on a network file system.")
    ] = False,
    budget: Annotated[
        str | None, Parameter(help="What compressed segments may decode to, such as 8GB.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, Parameter(help="Show no progress.")] = False,
) -> int:
    """Check a .rq file to the last byte, or make it again and compare.

    Checks the structure, every checksum and SHA-256, padding and codes, of all shards too, and
    whether the header is spelled as the writer would; prints the digest of the tensors, which the
    same weights have in any form. With --deep every tensor is decoded, and texts, tokenizer and
    architecture are held against their rules. With --rederive the source, which must have the
    recorded SHA-256, is quantized again by the recorded recipe, and every tensor compared.

    The exit status is 0 if all is well, 3 for a damaged file, 4 for one that needs what this
    version lacks, 1 if nothing is damaged and something still is not as it should be.

    For example:
      refquant verify model.rq
      refquant verify model.rq --deep --json
      refquant verify small.rq --rederive model.gguf
    """
    report = _Report()
    problem: RefquantError | None = None
    try:
        _check(
            file, report, deep=deep, rederive=rederive, options=(not no_mmap, budget), quiet=quiet
        )
    except RefquantError as error:
        problem = error
        report.facts["problem"] = {"code": getattr(error, "code", ""), "message": str(error)}
    report.facts["failures"] = report.failures
    report.facts["ok"] = problem is None and not report.failures
    if json:
        emit_json("verify", report.facts)
    else:
        _print(report)
    if problem is not None:
        raise problem
    if report.failures:
        raise ConformanceError(f"{file}: {'; '.join(report.failures)}")
    return 0


def _check(
    file: str,
    report: _Report,
    *,
    deep: bool,
    rederive: str | None,
    options: tuple[bool, str | None],
    quiet: bool,
) -> None:
    from refquant.cli.destination import parse_bytes
    from refquant.formats.rq import open_source, read, read_header, tensors_digest
    from refquant.library import locate

    use_mmap, budget = options
    source = open_source(locate(file), use_mmap=use_mmap)
    contents = read_header(source)
    _describe(contents, report)
    total = _stored_bytes(contents)
    with progress("checking", total, quiet=quiet) as meter:
        checkpoint = read(
            source,
            verify="full",
            budget=None if budget is None else parse_bytes(budget, "--budget"),
            progress=advancing(meter),
        )
    report.facts["checked_bytes"] = total
    _check_form(source, checkpoint, report)
    report.facts["tensors_digest"] = tensors_digest(checkpoint)
    if deep:
        _check_deep(checkpoint, report, quiet=quiet)
    if rederive is not None:
        _check_again(checkpoint, rederive, report, quiet=quiet)


def _describe(contents: "Contents", report: _Report) -> None:
    header = contents.header
    report.facts |= {
        "path": contents.path,
        "bytes": contents.file_length,
        "root": contents.root,
        "features": list(contents.preamble.feature_names) if contents.preamble else [],
        "segments": len(contents.segments),
        "shards": [one.name for one in header.shards] if header else [],
        "tensors": len(header.tensors) if header else 0,
    }


def _stored_bytes(contents: "Contents") -> int:
    shards = contents.header.shards if contents.header else ()
    return contents.file_length + sum(one.file_length for one in shards)


def _check_form(source: "Source", checkpoint: "Checkpoint", report: _Report) -> None:
    from refquant.formats.rq import why_not_canonical

    reason = why_not_canonical(source, checkpoint)
    report.facts["canonical"] = reason is None
    if reason is not None:
        report.failures.append(f"not in canonical form: {reason}")


def _check_deep(checkpoint: "Checkpoint", report: _Report, *, quiet: bool) -> None:
    from refquant.cli.deep_checks import check_model, check_texts, decode_all

    report.failures += check_texts(checkpoint)
    report.failures += check_model(checkpoint)
    found = decode_all(checkpoint, quiet=quiet)
    report.facts["decoded_weights"] = found.weights
    report.facts["not_finite"] = dict(found.not_finite)
    report.failures += [
        f"{count} weights of {name!r} are NaN or infinite"
        for name, count in found.not_finite.items()
    ]


def _check_again(checkpoint: "Checkpoint", origin: str, report: _Report, *, quiet: bool) -> None:
    from refquant.formats import open_checkpoint
    from refquant.library import resolve
    from refquant.quantization.provenance import check_source, source_bytes
    from refquant.quantization.rederive import recorded_recipe, rederive

    place = resolve(origin)
    record = checkpoint.info.get("provenance")
    recipe = recorded_recipe(record)
    with progress("hashing", source_bytes(place), quiet=quiet) as meter:
        check_source(place, record, meter)
    total = report.facts["checked_bytes"]
    same, different = 0, []
    with progress("quantizing again", total, quiet=quiet) as meter:
        for one in rederive(checkpoint, open_checkpoint(Path(place)), recipe):
            meter.start(one.name)
            meter.advance(one.nbytes)
            if one.difference:
                different.append({"name": one.name, "difference": one.difference})
            else:
                same += 1
    report.facts["rederived"] = {"same": same, "different": different}
    if different:
        report.failures.append(f"{len(different)} of {same + len(different)} tensors differ")


def _print(report: _Report) -> None:
    facts = report.facts
    if "path" not in facts:
        return
    about = [format_bytes(facts["bytes"]), *facts["features"]]
    print_pairs(
        [
            ("file", f"{facts['path']}: {', '.join(about)}"),
            ("shards", len(facts["shards"]) or None),
            ("checked", _checked(facts)),
            ("canonical form", _yes(facts.get("canonical"))),
            ("decoded", _decoded(facts)),
            ("made again", _rederived(facts)),
            ("root", facts["root"] or None),
            ("tensors digest", facts.get("tensors_digest")),
        ]
    )
    different = facts.get("rederived", {}).get("different")
    if different:
        print()
        rows = [(one["name"], one["difference"]) for one in different]
        print_table(("tensor", "difference"), rows)


def _checked(facts: Mapping[str, Any]) -> str | None:
    if "checked_bytes" not in facts:
        return None
    size = format_bytes(facts["checked_bytes"])
    return f"{size} in {facts['tensors']} tensors: structure, checksums, SHA-256, padding, codes"


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _decoded(facts: Mapping[str, Any]) -> str | None:
    if "decoded_weights" not in facts:
        return None
    return f"{facts['decoded_weights']} weights; texts, tokenizer and architecture checked"


def _rederived(facts: Mapping[str, Any]) -> str | None:
    found = facts.get("rederived")
    if found is None:
        return None
    total = found["same"] + len(found["different"])
    return f"{found['same']} of {total} tensors have the same bytes"
