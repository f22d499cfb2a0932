"""GGUF files as checkpoints: tensors over the file's own bytes, architecture, tokenizer, template.

`gguf_file.py` reads the container; this page says what its parts mean to us.
"""

import os
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Final

from refquant.architectures import Architecture, family_of_gguf
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.gguf_file import GgufFile, GgufTensor, read_gguf
from refquant.formats.gguf_pairs import METADATA_DOCUMENT, METADATA_MEDIA, kept_metadata
from refquant.formats.lazy import LazyTensors, is_readable, tensor_over
from refquant.formats.rq.limits import MAX_DOCUMENT_BYTES
from refquant.formats.tokenizers_gguf import tokenizer_from_gguf
from refquant.tensor import QuantizedTensor

__all__ = ["checkpoint_of_gguf", "open_gguf"]

# The metadata about the model as a whole: name, author, licence, base model.
GENERAL_KEY: Final = re.compile(r"general\.[a-z0-9_.]{1,50}")


def open_gguf(path: str | os.PathLike[str], *, use_mmap: bool = True) -> Checkpoint:
    """The model in a GGUF file; no weight is touched until a tensor is asked for.

    FormatError (E_GGUF_*, E_ARCH_METADATA) for damage. An architecture or tokenizer that this
    version does not know is None, with its reason in `info`; a tensor of a type without a scheme
    is listed in `unreadable` and raises UnsupportedError when asked for.
    """
    file = read_gguf(path, use_mmap=use_mmap)
    try:
        return checkpoint_of_gguf(file)
    except FormatError as error:
        raise error.at(file.path) from error.__cause__


def checkpoint_of_gguf(file: GgufFile) -> Checkpoint:
    """The same, of a file that has been read."""
    missing: dict[str, object] = {}
    architecture = _architecture(file, missing)
    # ggml leaves the output matrix out where the embedding does its work.
    tied = architecture is not None and architecture.fields.get("tied_embeddings") is True
    return Checkpoint(
        architecture=architecture,
        tensors=LazyTensors({name: partial(_tensor, one) for name, one in file.tensors.items()}),
        aliases={"output.weight": "token_embd.weight"} if tied else {},
        tokenizer=_tokenizer(file, missing),
        documents=_documents(file),
        info={**_info(file), **missing},
        unreadable={
            name: tensor.type_name
            for name, tensor in file.tensors.items()
            if not is_readable(tensor.ggml_type.scheme, tensor.shape)
        },
    )


def _tensor(stored: GgufTensor) -> QuantizedTensor:
    kind = stored.ggml_type
    return tensor_over(stored.name, kind.name, kind.scheme, stored.shape, stored.data)


def _architecture(file: GgufFile, missing: dict[str, object]) -> Architecture | None:
    try:
        family = family_of_gguf(file.metadata.get("general.architecture"))
        architecture = Architecture(family.name, family.from_gguf(file.metadata, file.tensors))
        family.check_fields(architecture.fields, where="GGUF metadata")
        return architecture
    except UnsupportedError as error:
        missing["architecture_missing"] = str(error)
        return None


def _tokenizer(file: GgufFile, missing: dict[str, object]) -> TokenizerSpec | None:
    try:
        return tokenizer_from_gguf(file.metadata)
    except UnsupportedError as error:
        missing["tokenizer_missing"] = str(error)
        return None


def _documents(file: GgufFile) -> dict[str, Document]:
    """The metadata as they are, for whoever writes GGUF again, and the template for everybody.

    Metadata longer than a document may be are not kept.
    """
    raw = kept_metadata(file)
    kept = {METADATA_DOCUMENT: Document(METADATA_DOCUMENT, METADATA_MEDIA, raw)}
    documents = kept if len(raw) <= MAX_DOCUMENT_BYTES else {}
    template = file.metadata.get("tokenizer.chat_template")
    if not isinstance(template, str):
        return documents
    name = "chat_template.jinja"
    return {**documents, name: Document(name, "text/x-jinja", template.encode())}


def _info(file: GgufFile) -> dict[str, object]:
    """Where the model came from, as plain data without paths of this machine."""
    types = Counter(tensor.type_name for tensor in file.tensors.values())
    provenance = {"sources": [{"name": Path(file.path).name, "bytes": file.data.size}]}
    licence = file.metadata.get("general.license")
    return {
        "format": f"GGUF {file.version}",
        "provenance": {**provenance, **({"licence": licence} if _is_short(licence) else {})},
        "tensor_types": [[name, count] for name, count in types.most_common()],
        "gguf": {
            key: value
            for key, value in file.metadata.items()
            if GENERAL_KEY.fullmatch(key) and _is_short(value)
        },
    }


def _is_short(value: object) -> bool:
    """True for a line of text, a flag, or a number that every notation can spell."""
    if isinstance(value, str):
        return len(value) <= 200
    return isinstance(value, (int, float)) and 0 <= value < 1 << 53
