"""What a model file holds, gathered without touching a weight; also of files that cannot run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from refquant.errors import RefquantError
from refquant.formats import Checkpoint, open_checkpoint
from refquant.formats.gguf import checkpoint_of_gguf
from refquant.formats.gguf_file import read_gguf
from refquant.formats.rq import MAGIC, Contents, open_source, read, read_header
from refquant.formats.rq.read import StoredTensors
from refquant.formats.safetensors import SafetensorsFile, read_safetensors

__all__ = ["Summary", "TensorFacts", "summarize"]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One tensor: `scheme` is a scheme's name, or the file's own word for a type without one."""

    name: str
    scheme: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Summary:
    """A model file in plain data.

    `obstacles` say why it cannot run; `problem` is the error with which reading ended, if it did.
    """

    kind: str
    path: str
    nbytes: int
    tensors: tuple[TensorFacts, ...] = ()
    family: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    root: str = ""
    shards: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()
    problem: RefquantError | None = None
    checkpoint: Checkpoint | None = None


def summarize(path: Path | str) -> Summary:
    """Find out what is at `path`; a path that is no model at all raises what opening it raises.

    A string is an address on the web, where only `.rq` files can be looked into.
    """
    if isinstance(path, str):
        return _of_rq(path)
    if path.is_dir():
        return _of_folder(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(MAGIC):
        return _of_rq(path)
    if start.startswith(b"GGUF"):
        return _of_gguf(path)
    if start[8:9] == b"{" and path.suffix == ".safetensors":
        return _of_safetensors(path, [path])
    return _of_checkpoint(open_checkpoint(path), "model", path, path.stat().st_size)


def _of_checkpoint(
    checkpoint: Checkpoint, kind: str, path: Path | str, nbytes: int, **more: Any
) -> Summary:
    architecture, tokenizer = checkpoint.architecture, checkpoint.tokenizer
    if "tensors" not in more:
        more["tensors"] = tuple(_facts(checkpoint, name) for name in checkpoint.tensors)
    return Summary(
        kind=kind,
        path=str(path),
        nbytes=nbytes,
        family=architecture.family if architecture else "",
        fields=architecture.fields if architecture else {},
        tokenizer=tokenizer.kind if tokenizer else "",
        aliases=checkpoint.aliases,
        info=checkpoint.info,
        obstacles=tuple(_obstacles(checkpoint)),
        checkpoint=checkpoint,
        **{"documents": _documents(checkpoint), **more},
    )


def _facts(checkpoint: Checkpoint, name: str) -> TensorFacts:
    tensors = checkpoint.tensors
    if isinstance(tensors, StoredTensors):
        shape, layout = tensors.shape(name), tensors.layout(name)
        return TensorFacts(name, tensors.scheme(name)[0].name, shape, layout.nbytes(shape))
    tensor = tensors[name]
    return TensorFacts(name, tensor.scheme.name, tensor.shape, tensor.nbytes)


def _obstacles(checkpoint: Checkpoint) -> list[str]:
    """Why the model cannot run, in words; nothing if it can."""
    found = []
    if checkpoint.architecture is None:
        reason = checkpoint.info.get("architecture_missing")
        found.append(str(reason or "the file names no architecture"))
    if checkpoint.tokenizer is None:
        found.append(str(checkpoint.info.get("tokenizer_missing") or "it holds no tokenizer"))
    if checkpoint.unreadable:
        counts = Counter(checkpoint.unreadable.values())
        types = ", ".join(f"{name} ({counts[name]})" for name in sorted(counts))
        found.append(f"tensor types without a scheme here: {types}")
    return found


def _documents(checkpoint: Checkpoint) -> dict[str, tuple[str, int]]:
    return {name: (one.media, len(one.data)) for name, one in checkpoint.documents.items()}


def _of_rq(path: Path | str) -> Summary:
    source = open_source(path)
    contents = read_header(source)
    info = (contents.document or {}).get("info")
    metadata = info if isinstance(info, Mapping) else {}
    if contents.header is not None and contents.header.is_shard:
        return _of_shard(contents, metadata)
    if contents.problem is None:
        checkpoint = read(source)
        return _of_checkpoint(
            checkpoint, ".rq", path, contents.file_length,
            root=contents.root, metadata=metadata, documents=_stored_documents(contents),
            shards=_shards(contents),
        )  # fmt: skip
    header = contents.header
    tensors = () if header is None else tuple(
        TensorFacts(
            record.name,
            header.labels[record.scheme] or header.layouts[record.scheme].digest[:12],
            record.shape,
            header.layouts[record.scheme].nbytes(record.shape),
        )
        for record in header.tensors
    )  # fmt: skip
    return Summary(
        ".rq", str(path), contents.file_length, tensors, root=contents.root, metadata=metadata,
        documents=_stored_documents(contents), problem=contents.problem, shards=_shards(contents),
    )  # fmt: skip


def _of_shard(contents: Contents, metadata: Mapping[str, Any]) -> Summary:
    planes = len(contents.segments) - 1
    return Summary(
        kind=".rq shard",
        path=contents.path,
        nbytes=contents.file_length,
        root=contents.root,
        metadata=metadata,
        obstacles=(f"it is a shard of {planes} planes; the file that lists it says whose",),
        problem=contents.problem,
    )


def _shards(contents: Contents) -> dict[str, tuple[int, str]]:
    """Names, lengths and root digests of the shards that a file lists."""
    if contents.header is None:
        return {}
    return {one.name: (one.file_length, one.root.hex()) for one in contents.header.shards}


def _stored_documents(contents: Contents) -> dict[str, tuple[str, int]]:
    """Names, media types and sizes, from the segment table alone."""
    if contents.header is None:
        return {}
    return {
        one.name: (one.media, sum(contents.segments[n].raw_length for n in one.segments))
        for one in contents.header.documents
    }


def _of_gguf(path: Path) -> Summary:
    file = read_gguf(path)
    tensors = tuple(
        TensorFacts(one.name, one.ggml_type.scheme or one.type_name, one.shape, one.data.size)
        for one in file.tensors.values()
    )
    return _of_checkpoint(
        checkpoint_of_gguf(file), f"GGUF {file.version}", path, file.data.size,
        tensors=tensors, metadata=file.metadata,
    )  # fmt: skip


def _of_folder(path: Path) -> Summary:
    weights = sorted(path.glob("*.safetensors"))
    if weights and not (path / "config.json").exists():
        return _of_safetensors(path, weights)
    checkpoint = open_checkpoint(path)
    more: dict[str, Any] = {}
    if checkpoint.unreadable:
        more["tensors"] = _of_safetensors(path, weights).tensors
    size = sum(one.stat().st_size for one in path.iterdir() if one.is_file())
    return _of_checkpoint(checkpoint, "Hugging Face folder", path, size, **more)


def _of_safetensors(path: Path, weights: Sequence[Path]) -> Summary:
    files = [read_safetensors(one) for one in weights]
    metadata: dict[str, str] = {}
    for file in files:
        metadata.update(file.metadata)
    return Summary(
        kind="safetensors",
        path=str(path),
        nbytes=sum(one.stat().st_size for one in weights),
        tensors=tuple(fact for file in files for fact in _safetensors_facts(file)),
        metadata=metadata,
        obstacles=("there is no config.json beside it that names an architecture",),
    )


def _safetensors_facts(file: SafetensorsFile) -> list[TensorFacts]:
    names = {"F32": "float/f32", "F16": "float/f16", "BF16": "float/bf16"}
    return [
        TensorFacts(one.name, names.get(one.dtype, one.dtype), one.shape, one.data.size)
        for one in file.tensors.values()
    ]
