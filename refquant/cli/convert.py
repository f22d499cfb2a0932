"""`refquant convert`: the same model in another form."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from refquant.cli.chat_strings import with_told_chat
from refquant.cli.convert_formats import Job, Target, print_moves, write_foreign
from refquant.cli.destination import check_output, check_room, explained
from refquant.cli.file_form import FileForm
from refquant.cli.output import emit_json, format_bytes, print_pairs
from refquant.cli.progress import advancing, progress
from refquant.errors import ConformanceError, UsageError

if TYPE_CHECKING:
    from refquant.formats.rq import Plan

__all__ = ["convert"]


def convert(
    source: Annotated[
        str,
        Parameter(help="A .rq or .gguf file, a Hugging Face folder, a known name, or an address."),
    ],
    output: Annotated[Path, Parameter(help="What to write; its ending says the format.")],
    /,
    *,
    to: Annotated[
        Literal["rq", "gguf", "nnef", "safetensors"] | None,
        Parameter(help="The format, where the ending does not say it."),
    ] = None,
    form: FileForm | None = None,
    target: Target | None = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, Parameter(help="Print neither progress nor result.")] = False,
) -> int:
    """Write the same model in another form: .rq, GGUF, NNEF or safetensors.

    Codes and scales are copied where the format has room for them. Of every tensor it is said what
    became of it: exact (the same bytes), repacked (other bytes, every weight of the same value) or
    requantized, with the relative root mean square error; --lossless-only refuses the last.

    .rq files hold whatever the source holds, raw, compressed or in shards, and the digest of the
    tensors is compared at the end. A GGUF file that became .rq becomes the same GGUF file again;
    of other models GGUF's metadata are made from architecture and tokenizer. An NNEF folder holds
    the matrices for tract. Safetensors hold floats, alone in a file that is called .safetensors,
    or in a folder with config.json and tokenizer.json. Nothing appears before it is complete.

    For example:
      refquant convert model.rq model.gguf
      refquant convert model.gguf model.rq --compression zstd
      refquant convert model.rq split.rq --shard-size 2GB
      refquant convert model.rq ./folder --to nnef --legacy
      refquant convert model.rq ./hf-folder --to safetensors --scheme float/bf16
    """
    from refquant.formats import open_checkpoint
    from refquant.library import locate

    began = time.perf_counter()
    form, target, kind = form or FileForm(), target or Target(), _kind(output, to)
    _check_options(form, target, kind)
    place = locate(source)
    check_output(output, _files_of(place))
    job = Job(place, output, open_checkpoint(place), kind, target)
    facts = _write_rq(job, form, quiet) if kind == "rq" else write_foreign(job, quiet=quiet)
    facts["seconds"] = time.perf_counter() - began
    if json:
        emit_json("convert", facts)
    elif not quiet:
        (_print if kind == "rq" else print_moves)(facts)
    return 0


ENDINGS = {".rq": "rq", ".gguf": "gguf", ".safetensors": "safetensors", ".nnef": "nnef"}


def _kind(output: Path, to: str | None) -> str:
    """The format: what was asked for, or what the ending says."""
    ending = output.suffix.lower()
    if to is None and ending not in ENDINGS:
        known = ", ".join(ENDINGS)
        raise UsageError(
            f"cannot write {output}: {repr(ending) if ending else 'no ending'}, expected {known}; "
            "for a folder say --to nnef or --to safetensors"
        )
    return to or ENDINGS[ending]


def _check_options(form: FileForm, target: Target, kind: str) -> None:
    """Refuse options that the format has no use for."""
    given = {
        "--compression": (form.compression != "none", ("rq",)),
        "--shard-size": (form.shard_size is not None, ("rq",)),
        "--legacy": (target.legacy, ("nnef",)),
        "--scheme": (target.scheme is not None, ("gguf", "nnef", "safetensors")),
    }
    for option, (is_given, kinds) in given.items():
        if is_given and kind not in kinds:
            raise UsageError(f"{option} is for {' and '.join(kinds)}, not for {kind}")


def _files_of(place: Path | str) -> list[Path]:
    """The local files that are read: the file itself and its shards."""
    if isinstance(place, str):
        return []
    from refquant.formats.rq.shard_set import listed_shards

    return [place, *(place.parent / name for name in listed_shards(place))]


def _write_rq(job: Job, form: FileForm, quiet: bool) -> dict[str, Any]:
    from refquant.formats.rq import (
        plan_checkpoint,
        read,
        read_header,
        stored_bytes,
        tensors_digest,
    )
    from refquant.formats.rq.read import StoredTensors
    from refquant.formats.rq.write import write

    stored = isinstance(job.checkpoint.tensors, StoredTensors)
    plan = plan_checkpoint(job.checkpoint) if stored else _imported(job, quiet)
    total = sum(one.layout.nbytes(one.shape) for one in plan.tensors)
    check_room(job.output, total)
    with progress("reading", total, quiet=quiet) as meter:
        expected = tensors_digest(job.checkpoint, advancing(meter))
    with progress("writing", total, quiet=quiet) as meter:
        try:
            root = write(job.output, plan, **form.arguments, progress=advancing(meter))
        except OSError as error:
            raise explained(error, job.output) from error
    with progress("comparing", total, quiet=quiet) as meter:
        found = tensors_digest(read(job.output), advancing(meter))
    if found != expected:
        raise ConformanceError(
            f"{job.output} was written, but its tensors have the digest {found} and those of "
            f"{job.source} {expected}; the disk may be damaged"
        )
    contents = read_header(job.output)
    shards = () if contents.header is None else contents.header.shards
    return {
        "output": str(job.output),
        "root": root,
        "tensors_digest": found,
        "bytes": stored_bytes(job.output),
        "shards": [{"name": one.name, "bytes": one.file_length} for one in shards],
        "features": list(contents.preamble.feature_names) if contents.preamble else [],
    }


def _imported(job: Job, quiet: bool) -> "Plan":
    """The plan of a model that is no .rq file: every tensor as it is, its source recorded."""
    from refquant.quantization import quantized_plan
    from refquant.quantization.provenance import carried_info, provenance, source_bytes
    from refquant.recipe import assign, uniform_recipe

    place, recipe, info = Path(job.source), uniform_recipe("keep"), job.checkpoint.info
    with progress("hashing", source_bytes(place), quiet=quiet) as meter:
        record = provenance(place, recipe.to_data(), info.get("provenance"), meter)
    return quantized_plan(
        with_told_chat(job.checkpoint, quiet=quiet),
        assign(job.checkpoint, recipe),
        info={**carried_info(info), "provenance": record},
    )


def _print(facts: Mapping[str, Any]) -> None:
    size = format_bytes(facts["bytes"])
    shards = [(one["name"], format_bytes(one["bytes"])) for one in facts["shards"]]
    print_pairs(
        [
            ("wrote", f"{facts['output']}: {size}, in {facts['seconds']:.1f} s"),
            *(("shard", f"{name}, {nbytes}") for name, nbytes in shards),
            ("root", facts["root"]),
            ("tensors digest", f"{facts['tensors_digest']}, as the source's"),
        ]
    )
