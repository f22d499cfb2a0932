"""Hugging Face model directories: `config.json`, `tokenizer.json`, weights in safetensors files.

Weights lie in `model.safetensors`, or in several files that `model.safetensors.index.json` names.
Tensor names become ours where the family is known.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from refquant.architectures import (
    Architecture,
    Family,
    ModelTensor,
    check,
    family_of_hugging_face,
)
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.hugging_face_forms import Experts, Source, rearranged, source_of
from refquant.formats.hugging_face_gptq import Gptq, GptqMatrix, gptq_matrix, gptq_of
from refquant.formats.lazy import LazyTensors, is_readable, tensor_over
from refquant.formats.mapped import shown
from refquant.formats.safetensors import StoredTensor, read_safetensors
from refquant.formats.strict_json import parse_object
from refquant.formats.tokenizers_hugging_face import tokenizer_from_hugging_face
from refquant.tensor import QuantizedTensor

__all__ = ["checkpoint_beside", "open_hugging_face"]

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
TEMPLATE: Final = "chat_template.jinja"
# The largest tokenizer.json published so far has 33 MB.
MAX_TEXT_BYTES: Final = 1 << 28
# A shard is a plain name beside the index: nothing that could lead out of the directory.
SHARD_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")

SCHEMES: Final[Mapping[str, str]] = {
    "F32": "float/f32",
    "F16": "float/f16",
    "BF16": "float/bf16",
    "GPTQ": "gptq/int4",
    "MXFP4": "mx/mxfp4",
}


def open_hugging_face(path: str | os.PathLike[str], *, use_mmap: bool = True) -> Checkpoint:
    """The model in a Hugging Face directory; no weight is touched until a tensor is asked for.

    FormatError (E_JSON*, E_HF_*, E_SAFETENSORS_*, E_ARCH_*) for damage. A known family must have
    exactly its tensors: others are an UnsupportedError that lists them, except buffers that no
    model needs. Of an unknown family the tensors keep their own names.
    """
    folder = Path(path)
    try:
        return _open(folder, use_mmap=use_mmap)
    except FormatError as error:
        raise (error if error.path else error.at(str(folder))) from error.__cause__


def _open(folder: Path, *, use_mmap: bool) -> Checkpoint:
    _read_object(folder, CONFIG, required=True)
    return checkpoint_beside(folder, _read_weights(folder, use_mmap=use_mmap))


def checkpoint_beside(folder: Path, stored: Mapping[str, StoredTensor]) -> Checkpoint:
    """The model of these tensors and the texts in a folder, of which none has to be there."""
    config = _read_object(folder, CONFIG)
    missing: dict[str, object] = {}
    model = _name_tensors(config, stored, missing)
    return Checkpoint(
        architecture=model.architecture,
        tensors=LazyTensors({name: partial(_tensor, one) for name, one in model.tensors.items()}),
        aliases=model.aliases,
        tokenizer=_tokenizer(folder, config, missing),
        documents=_documents(folder),
        info={**_info(folder, config, stored), **missing, **model.notes},
        unreadable={
            name: one.dtype
            for name, one in model.tensors.items()
            if not is_readable(SCHEMES.get(one.dtype), one.shape)
        },
    )


def _tensor(stored: StoredTensor | Source | Experts | GptqMatrix) -> QuantizedTensor:
    if isinstance(stored, Experts | GptqMatrix):
        return stored.tensor()
    scheme = SCHEMES.get(stored.dtype)
    if isinstance(stored, StoredTensor):
        return tensor_over(stored.name, stored.dtype, scheme, stored.shape, stored.data)
    data = rearranged(stored)
    return tensor_over(stored.parts[0].name, stored.dtype, scheme, stored.shape, data)


def _read_text(folder: Path, name: str) -> bytes | None:
    """The bytes of a small file, or None if it is not there."""
    path = folder / name
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            # Python sets aside what it is asked to read, and most files are far smaller.
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, MAX_TEXT_BYTES) + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise FormatError("E_HF_SIZE", f"more than {MAX_TEXT_BYTES} bytes", path=str(path))
    return data


def _read_object(folder: Path, name: str, *, required: bool = False) -> dict[str, object]:
    data = _read_text(folder, name)
    if data is None and required:
        raise UnsupportedError(f"{folder} has no {name}, so it is no Hugging Face model directory")
    try:
        return {} if data is None else parse_object(data, name)
    except FormatError as error:
        raise error.at(str(folder / name)) from error.__cause__


# ------------------------------------------------------------------------------------- weights


def _read_weights(folder: Path, *, use_mmap: bool) -> dict[str, StoredTensor]:
    if (folder / WEIGHTS).is_file():
        return dict(read_safetensors(folder / WEIGHTS, use_mmap=use_mmap).tensors)
    if (folder / INDEX).is_file():
        return _read_shards(folder, use_mmap=use_mmap)
    others = sorted(one.name for one in folder.iterdir() if one.suffix in (".bin", ".pt", ".pth"))
    hint = f"; {others[0]} is a pickle, which can run code and is not read" if others else ""
    raise UnsupportedError(f"{folder} has no {WEIGHTS} and no {INDEX}{hint}")


def _read_shards(folder: Path, *, use_mmap: bool) -> dict[str, StoredTensor]:
    where = str(folder / INDEX)
    shard_of = _read_object(folder, INDEX, required=True).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise FormatError("E_HF_INDEX", "weight_map is no object of tensor names", path=where)
    for shard in set(map(str, shard_of.values())):
        if not SHARD_NAME.fullmatch(shard):
            message = f"the shard {shown(shard)!r} is no plain name of a file beside the index"
            raise FormatError("E_HF_INDEX", message, path=where)
    tensors: dict[str, StoredTensor] = {}
    for shard in dict.fromkeys(map(str, shard_of.values())):
        found = _read_shard(folder, shard, use_mmap=use_mmap)
        stated = {name for name, at in shard_of.items() if at == shard}
        if stated != found.keys():
            name = min(stated ^ found.keys())
            message = f"the index and {shard} disagree about the tensor {shown(name)}"
            raise FormatError("E_HF_INDEX", message, path=where)
        tensors.update(found)
    return tensors


def _read_shard(folder: Path, shard: str, *, use_mmap: bool) -> Mapping[str, StoredTensor]:
    if not (folder / shard).is_file():
        message = f"the index names {shard}, which is not there"
        raise FormatError("E_HF_INDEX", message, path=str(folder / INDEX))
    return read_safetensors(folder / shard, use_mmap=use_mmap).tensors


# --------------------------------------------------------------------------------------- names


@dataclass(frozen=True, slots=True)
class _Model:
    """The tensors under our names, and what was left aside knowingly."""

    architecture: Architecture | None
    tensors: Mapping[str, StoredTensor | Source | Experts | GptqMatrix]
    aliases: Mapping[str, str]
    notes: Mapping[str, object]


def _name_tensors(
    config: Mapping[str, object], stored: Mapping[str, StoredTensor], missing: dict[str, object]
) -> _Model:
    try:
        family = family_of_hugging_face(config.get("model_type"))
        architecture = Architecture(family.name, family.from_hugging_face(config))
        # Before anything is counted out: a file may state any number of layers.
        family.check_fields(architecture.fields, where=CONFIG)
    except UnsupportedError as error:
        missing["architecture_missing"] = str(error)
        return _Model(None, stored, {}, {})
    tied = architecture.fields.get("tied_embeddings") is True
    gptq = gptq_of(config)
    sources = {
        model.name: source
        for model in family.model_tensors(architecture.fields)
        if (source := _source(model, stored, family.hugging_face_prefix, gptq)) is not None
    }
    place = {name: number for number, name in enumerate(stored)}
    sources = dict(sorted(sources.items(), key=lambda item: place[item[1].parts[0].name]))
    read = {one.name for source in sources.values() for one in source.parts}
    unread = [name for name in stored if name not in read]
    _refuse_unknown(family, unread, tied=tied)
    check(architecture, {name: source.shape for name, source in sources.items()})
    aliases = {"output.weight": "token_embd.weight"} if tied else {}
    return _Model(architecture, sources, aliases, {"unread_tensors": unread} if unread else {})


def _source(
    model: ModelTensor, stored: Mapping[str, StoredTensor], prefix: str, gptq: Gptq | None
) -> Source | Experts | GptqMatrix | None:
    found = None if gptq is None else gptq_matrix(model, stored, prefix, gptq)
    return found or source_of(model, stored, prefix)


def _refuse_unknown(family: Family, unread: Iterable[str], *, tied: bool) -> None:
    """A tensor nobody reads changes what the model computes, unless it is known not to."""
    # Writers may store the output matrix beside the embedding that it is tied to.
    harmless = (*family.ignored_hugging_face, *(("lm_head.weight",) if tied else ()))
    unknown = [shown(name) for name in unread if not name.endswith(harmless)]
    if unknown:
        raise UnsupportedError(
            f"{len(unknown)} tensors belong to no {family.name} model that is read here: "
            f"{', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}"
        )


# ---------------------------------------------------------------------------- texts and tokens


def _tokenizer(
    folder: Path, config: Mapping[str, object], missing: dict[str, object]
) -> TokenizerSpec | None:
    data = _read_text(folder, "tokenizer.json")
    if data is None:
        missing["tokenizer_missing"] = f"{folder.name} has no tokenizer.json"
        return None
    try:
        return tokenizer_from_hugging_face(
            data,
            config,
            _read_object(folder, "tokenizer_config.json"),
            _read_object(folder, "generation_config.json"),
        )
    except FormatError as error:
        raise error.at(str(folder / "tokenizer.json")) from error.__cause__
    except UnsupportedError as error:
        missing["tokenizer_missing"] = str(error)
        return None


def _documents(folder: Path) -> dict[str, Document]:
    """The texts that travel along: configurations, licence, chat template."""
    media = {
        CONFIG: "application/json",
        "generation_config.json": "application/json",
        "tokenizer_config.json": "application/json",
        "LICENSE": "text/plain",
        TEMPLATE: "text/x-jinja",
    }
    texts = {name: _read_text(folder, name) for name in media}
    if texts[TEMPLATE] is None:
        template = _read_object(folder, "tokenizer_config.json").get("chat_template")
        texts[TEMPLATE] = template.encode() if isinstance(template, str) else None
    return {
        name: Document(name, media[name], data) for name, data in texts.items() if data is not None
    }


def _info(
    folder: Path, config: Mapping[str, object], stored: Mapping[str, StoredTensor]
) -> dict[str, object]:
    """Where the model came from, as plain data without paths of this machine."""
    types = Counter(tensor.dtype for tensor in stored.values())
    size = sum(tensor.data.size for tensor in stored.values())
    return {
        "format": "Hugging Face directory",
        "provenance": {"sources": [{"name": folder.resolve().name, "bytes": size}]},
        "tensor_types": [[name, count] for name, count in types.most_common()],
        "model_type": str(config.get("model_type"))[:200],
    }
