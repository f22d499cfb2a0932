"""GGUF's metadata for a model that did not come from GGUF, and what GGUF does to its tensors.

Every field goes under the key that its family names for it. The result is then read back as any
GGUF file is: fields that come out otherwise are those that GGUF implies instead of stating, and say
what must be done to the tensors (rows of queries and keys put in another order, one added to
norms). A difference that nothing done to tensors makes good is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from refquant.architectures import Architecture, Family, FieldValue, family_named
from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.gguf_pairs import Metadata, Value, made_metadata, pair, read_metadata
from refquant.formats.gguf_tokens import tokenizer_pairs
from refquant.formats.transfer import Turn
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["Described", "described", "turns_between"]

QUANTIZATION_VERSION: Final = 2
POOLING: Final = {"none": 0, "mean": 1, "first": 2}
"""The format's numbers for what BERT gives."""

TEMPLATE: Final = "chat_template.jinja"


@dataclass(frozen=True, slots=True)
class Described:
    """Metadata, what is done to each tensor that changes, and the tensors that are new."""

    metadata: Metadata
    turns: Mapping[str, Turn]
    new: Mapping[str, QuantizedTensor] = field(default_factory=dict)


def described(checkpoint: Checkpoint, file_type: int) -> Described:
    """The description of a checkpoint whose family GGUF knows; UnsupportedError without one.

    `file_type` is llama.cpp's number of the mixture of types.
    """
    architecture = checkpoint.need_architecture()
    family = family_named(architecture.family)
    if not family.gguf_architectures:
        raise UnsupportedError(f"GGUF has no architecture for the {family.name} family")
    new = _rope_factors(architecture.fields)
    document = made_metadata(
        [
            *_general(checkpoint, family.gguf_architectures[0], file_type),
            *_fields(family, architecture.fields),
            *_tokenizer(checkpoint, architecture),
        ]
    )
    metadata = read_metadata(document)
    names = [*checkpoint.tensors, *new]
    read = family.from_gguf(metadata.file.metadata, names)
    turns = turns_between("GGUF", family, architecture.fields, read)
    return Described(metadata, {n: t for n in names if (t := turns(n)) is not None}, new)


def _general(checkpoint: Checkpoint, architecture: str, file_type: int) -> list[bytes]:
    provenance = checkpoint.info.get("provenance")
    known = provenance if isinstance(provenance, Mapping) else {}
    texts = {"general.license": known.get("licence"), "general.name": checkpoint.info.get("name")}
    return [
        pair("general.architecture", architecture),
        pair("general.type", "model"),
        *(pair(key, text) for key, text in texts.items() if isinstance(text, str)),
        pair("general.file_type", file_type),
        pair("general.quantization_version", QUANTIZATION_VERSION),
    ]


def _fields(family: Family, fields: Mapping[str, FieldValue]) -> list[bytes]:
    name = family.gguf_architectures[0]
    # GGUF stores what llama3's scaling comes to as a tensor of divisors.
    left_out = {"rope_scaling", "rope_factor", "rope_original_context"}
    implied = left_out if fields.get("rope_scaling") == "llama3" else set()
    found: dict[str, Value] = {
        spec.gguf: POOLING[str(fields[spec.name])] if spec.name == "pooling" else fields[spec.name]
        for spec in family.fields
        if spec.gguf and spec.name in fields and spec.name not in implied
    }
    if "head_width" in fields:
        found[f"{name}.attention.value_length"] = fields["head_width"]
        found[f"{name}.rope.dimension_count"] = fields["head_width"]
    if "window_period" in fields:
        found[f"{name}.attention.sliding_window_pattern"] = fields["window_period"]
    if "experts" in fields and f"{name}.feed_forward_length" not in found:
        found[f"{name}.feed_forward_length"] = fields["feedforward_width"]
    if name == "bert":
        found["bert.attention.causal"] = False
    return [pair(key, value) for key, value in found.items()]


def _tokenizer(checkpoint: Checkpoint, architecture: Architecture) -> list[bytes]:
    if checkpoint.tokenizer is None:
        return [pair("tokenizer.ggml.model", "no_vocab")]
    found = tokenizer_pairs(checkpoint.tokenizer, int(architecture.fields["vocabulary"]))
    template = checkpoint.documents.get(TEMPLATE)
    if template is None:
        return found
    return [*found, pair("tokenizer.chat_template", template.data.decode())]


def turns_between(
    form: str, family: Family, ours: Mapping[str, FieldValue], theirs: Mapping[str, FieldValue]
) -> Callable[[str], Turn | None]:
    """What is done to a tensor of some name, so that the fields as `form` reads them are true."""
    # GGUF holds what llama3's scaling comes to as a tensor, and so reads no scaling.
    scaled = ours.get("rope_scaling") == "llama3" and "rope_factors" in theirs
    handled = {"rope_style", "norms_less_one"}
    for name in sorted({*ours, *theirs} - handled):
        if scaled and name.startswith("rope_") and name != "rope_theta":
            continue
        if not _alike(ours.get(name), theirs.get(name)):
            raise UnsupportedError(
                f"{form} cannot say that {name} is {ours.get(name)!r} in a {family.name} model: "
                f"a reader would take {theirs.get(name)!r}"
            )
    styles = (str(ours.get("rope_style")), str(theirs.get("rope_style")))
    added = float(bool(ours.get("norms_less_one"))) - float(bool(theirs.get("norms_less_one")))

    def turn(name: str) -> Turn | None:
        heads = {".attn_q.": "heads", ".attn_k.": "key_value_heads"}
        part = next((part for part in heads if part in name), "")
        if part and styles[0] != styles[1]:
            return Turn(rows=_rows(int(ours[heads[part]]), int(ours["head_width"]), styles[1]))
        return Turn(added=added) if added and name.endswith("norm.weight") else None

    return turn


def _rows(heads: int, width: int, style: str) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Which row goes where, so that the pairs that rotate are neighbours, or are halves again."""
    places = np.arange(heads * width, dtype=np.intp)
    turned = places.reshape(heads, 2, width // 2).swapaxes(1, 2).reshape(-1)
    return turned if style == "interleaved" else np.argsort(turned).astype(np.intp)


def _alike(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return bool(np.float32(ours) == np.float32(theirs))
    return ours == theirs


def _rope_factors(fields: Mapping[str, FieldValue]) -> dict[str, QuantizedTensor]:
    """The divisors of frequencies that llama3's scaling comes to; `spec/arch/rotary.md`."""
    if fields.get("rope_scaling") != "llama3":
        return {}
    width, theta = int(fields["head_width"]), float(fields["rope_theta"])
    turns = theta ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    low, high = float(fields["rope_low_frequency"]), float(fields["rope_high_frequency"])
    count = int(fields["rope_original_context"]) * turns / (2 * np.pi)
    stays = np.clip((count - low) / (high - low), 0.0, 1.0)
    slowed = (1 - stays) / float(fields["rope_factor"]) + stays
    return {"rope_freqs.weight": quantize(np.float32(1 / slowed), "float/f32")}
