"""Stage S7: whether a file that is sound also holds a model that can be run.

Only who runs a model asks. A reader that does not know the family or the tokenizer reads the file
all the same. The order is that of chapter 8: documents, architecture, tokenizer.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from refquant.architectures import FAMILIES, Architecture
from refquant.architectures.check import check_tensors
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.rq.read import StoredDocuments, StoredTensors
from refquant.formats.strict_json import parse_json

__all__ = ["TOKENIZER_KINDS", "check_runnable"]

TOKENIZER_KINDS: Final = ("bpe-bytelevel-1", "bpe-sentencepiece-1", "wordpiece-1")
"""Kinds of tokenizers in the registry of the specification."""

_HUGE: Final = 10**18
"""Stands for integers of more than 18 digits, which nothing asks for exactly."""

Shapes = dict[str, tuple[int, ...]]


def check_runnable(checkpoint: Checkpoint) -> None:
    """Raise unless a checkpoint's texts are well formed and its parts fit one another.

    FormatError with a code E_JSON_*, E_ARCH_* or E_TOKENIZER*; UnsupportedError E_ARCH_FAMILY or
    E_TOKENIZER_KIND for a family or a kind that this version does not know. What is not there, an
    architecture for instance, is not missed here. No tensor's bytes are touched.
    """
    parsed: dict[bytes, object] = {}
    for document in _documents(checkpoint):
        if document.media.partition(";")[0] == "application/json":
            parsed[document.data] = _parsed(document.data, document.name)
    architecture, tokenizer = checkpoint.architecture, checkpoint.tokenizer
    if architecture is not None:
        _check_architecture(architecture, checkpoint)
    if tokenizer is not None:
        _check_tokenizer(tokenizer, architecture, parsed)


def _parsed(data: bytes, where: str) -> object:
    return parse_json(data, where, integer=_index)


def _index(digits: str) -> int | float:
    """An integer; a float for a negative one, which is no index of anything."""
    if digits.startswith("-"):
        return float(digits)
    return int(digits) if len(digits) <= 18 else _HUGE


def _documents(checkpoint: Checkpoint) -> Iterator[Document]:
    documents = checkpoint.documents
    if isinstance(documents, StoredDocuments):
        yield from documents.everything()
    else:
        yield from (documents[name] for name in sorted(documents))


def _check_architecture(architecture: Architecture, checkpoint: Checkpoint) -> None:
    family = FAMILIES.get(architecture.family)
    if family is None:
        raise UnsupportedError(
            f"unknown model family {architecture.family!r}; known: {', '.join(FAMILIES)}",
            code="E_ARCH_FAMILY",
        )
    family.check_fields(architecture.fields)
    try:
        check_tensors(family, architecture, _shapes(checkpoint, architecture))
    except UnsupportedError as error:
        raise UnsupportedError(str(error), code="E_ARCH_TENSOR") from error


def _shapes(checkpoint: Checkpoint, architecture: Architecture) -> Shapes:
    """Shapes by name; an output matrix that is an alias of the embedding is what `tied` means."""
    tensors = checkpoint.tensors
    if isinstance(tensors, StoredTensors):
        shapes = {name: tensors.shape(name) for name in tensors}
    else:
        shapes = {name: tensors[name].shape for name in tensors}
    tied = architecture.fields.get("tied_embeddings") is True
    for name, target in checkpoint.aliases.items():
        if not (tied and (name, target) == ("output.weight", "token_embd.weight")):
            shapes[name] = shapes[target]
    return shapes


def _check_tokenizer(
    tokenizer: TokenizerSpec, architecture: Architecture | None, parsed: Mapping[bytes, object]
) -> None:
    """`parsed` are the values of texts that have been read already."""
    where = "tokenizer"
    if tokenizer.kind not in TOKENIZER_KINDS:
        known = ", ".join(TOKENIZER_KINDS)
        raise UnsupportedError(
            f"unknown kind of tokenizer {tokenizer.kind!r}; known: {known}", code="E_TOKENIZER_KIND"
        )
    text = parsed[tokenizer.json] if tokenizer.json in parsed else _parsed(tokenizer.json, where)
    ids = [*_ids(text, where), *tokenizer.eos]
    if tokenizer.bos is not None:
        ids.append(tokenizer.bos)
    vocabulary = None if architecture is None else architecture.fields["vocabulary"]
    if isinstance(vocabulary, int) and ids and max(ids) >= vocabulary:
        message = f"token id {max(ids)}, but the model has {vocabulary} ids"
        raise FormatError("E_TOKENIZER_ID", message, where=where)


def _ids(text: object, where: str) -> list[int]:
    """Every id of a `tokenizer.json`: of the vocabulary, then of the added tokens."""
    model = text.get("model") if isinstance(text, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = text.get("added_tokens", []) if isinstance(text, dict) else None
    if isinstance(vocabulary, list):
        found: list[object] = list(range(len(vocabulary)))
    elif isinstance(vocabulary, dict):
        found = list(vocabulary.values())
    else:
        raise FormatError("E_TOKENIZER", "no vocabulary in $.model.vocab", where=where)
    if not isinstance(added, list):
        raise FormatError("E_TOKENIZER", "$.added_tokens is no array", where=where)
    found += [token.get("id") if isinstance(token, dict) else None for token in added]
    ids = [number for number in found if type(number) is int]
    if len(ids) != len(found):
        raise FormatError("E_TOKENIZER", "an id is no integer from 0 on", where=where)
    return ids
