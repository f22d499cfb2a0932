"""A checkpoint as plain safetensors, in Hugging Face's names and forms where the family is known.

Every weight is stored as a float. The configuration is the one that the checkpoint carries, or is
made from the family's fields; either way it is read back, and where a reader would take rows of
queries and keys, or norms, in another form than ours, they are written in that form.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import Family, FieldValue, ModelTensor, family_named
from refquant.driver import Scheme
from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.gguf_describe import turns_between
from refquant.formats.safetensors_write import SafetensorsPart, write_safetensors
from refquant.formats.strict_json import parse_object
from refquant.formats.transfer import Moved, Turn, Verdict, moved
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor

__all__ = ["SafetensorsExport", "plan_safetensors"]

CONFIG: Final = "config.json"
DTYPES: Final[Mapping[str, str]] = {
    "float/f32": "F32",
    "float/f16": "F16",
    "float/bf16": "BF16",
}


@dataclass(frozen=True, slots=True)
class SafetensorsExport:
    """A file that has not been written: for each of its tensors, ours that it is made of.

    `texts` are the files that stand beside it in a directory.
    """

    checkpoint: Checkpoint
    targets: Mapping[str, Scheme]
    sources: Mapping[str, tuple[tuple[ModelTensor, int], ...]]
    turns: Callable[[str], Turn | None]
    texts: Mapping[str, bytes]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(one.layout.nbytes(self._shape(name)) for name, one in self.targets.items())

    def moved(self, name: str) -> Moved:
        """One tensor as it will be in the file."""
        first = self.sources[name][0][0]
        tensor = self.checkpoint.tensors[first.name]
        if (
            len(self.sources[name]) == 1
            and first.form == "as it is"
            and len(first.hugging_face) < 2
        ):
            return moved(tensor, self.targets[name], self.turns(first.name))
        pieces = [self._arranged(model, index) for model, index in self.sources[name]]
        values = pieces[0]
        if len(pieces) > 1:
            values = np.empty((*pieces[0].shape[:-1], 2 * pieces[0].shape[-1]), np.float32)
            for model, piece in zip(self.sources[name], pieces, strict=True):
                values[..., int(model[0].form.startswith("odd")) :: 2] = piece
        whole = QuantizedTensor.from_planes(
            "float/f32", values.shape, {"values": np.ascontiguousarray(values).tobytes()}
        )
        found = moved(whole, self.targets[name])
        verdict: Verdict = "repacked" if found.verdict == "exact" else found.verdict
        return replace(found, verdict=verdict, source=tensor.scheme.name)

    def _arranged(self, model: ModelTensor, index: int) -> NDArray[np.float32]:
        values = self.checkpoint.tensors[model.name].dequantize()
        if len(model.hugging_face) > 1:
            values = values[index]
        return values.swapaxes(-1, -2) if model.form.endswith("transposed") else values

    def write(self, path: str | os.PathLike[str], advance: Callable[[str, Moved], None]) -> int:
        """Write the file, one tensor in memory at a time, and say how long it is."""

        def part(name: str, target: Scheme) -> SafetensorsPart:
            def produce() -> NDArray[np.uint8]:
                found = self.moved(name)
                advance(name, found)
                return found.tensor.planes["values"]

            return SafetensorsPart(name, DTYPES[target.name], self._shape(name), produce)

        parts = [part(name, target) for name, target in self.targets.items()]
        return write_safetensors(path, parts)

    def _shape(self, name: str) -> tuple[int, ...]:
        sources = self.sources[name]
        model = sources[0][0]
        shape = self.checkpoint.tensors[model.name].shape
        shape = shape[1:] if len(model.hugging_face) > 1 else shape
        if model.form.endswith("transposed"):
            shape = (*shape[:-2], shape[-1], shape[-2])
        return (*shape[:-1], 2 * shape[-1]) if len(sources) > 1 else shape


def plan_safetensors(checkpoint: Checkpoint, wanted: str = "float/f32") -> SafetensorsExport:
    """What a safetensors file of a checkpoint will hold.

    `wanted` is the float type of tensors that are none; floats keep their own. Raises
    UnsupportedError where Hugging Face has no spelling for a field of the architecture.
    """
    if wanted not in DTYPES:
        raise UnsupportedError(f"plain safetensors hold {', '.join(DTYPES)}, not {wanted}")
    sources: dict[str, tuple[tuple[ModelTensor, int], ...]] = {}
    turns: Callable[[str], Turn | None] = _no_turn
    texts = {
        name: one.data
        for name, one in checkpoint.documents.items()
        if name.endswith((".json", ".jinja", "LICENSE"))
    }
    if checkpoint.architecture is not None:
        family = family_named(checkpoint.architecture.family)
        fields = checkpoint.architecture.fields
        texts.setdefault(CONFIG, _config(family, fields, checkpoint))
        read = family.from_hugging_face(parse_object(texts[CONFIG], CONFIG))
        turns = turns_between("Hugging Face", family, fields, read)
        models = {one.name: one for one in family.model_tensors(fields)}
    else:
        models = {}
    if checkpoint.tokenizer is not None:
        texts["tokenizer.json"] = checkpoint.tokenizer.json
    for name, tensor in checkpoint.tensors.items():
        model = models.get(name) or ModelTensor(name, tensor.shape, "", (name,), "as it is")
        for index, known in enumerate(model.hugging_face):
            sources[known] = (*sources.get(known, ()), (model, index))
    targets = {
        name: _target(checkpoint.tensors[parts[0][0].name], wanted)
        for name, parts in sources.items()
    }
    return SafetensorsExport(checkpoint, targets, sources, turns, texts)


def _no_turn(_name: str) -> None:
    return


def _target(tensor: QuantizedTensor, wanted: str) -> Scheme:
    return tensor.scheme if tensor.scheme.name in DTYPES else find_scheme(wanted)


def _config(family: Family, fields: Mapping[str, FieldValue], checkpoint: Checkpoint) -> bytes:
    """A `config.json` that says what the fields say."""
    if not family.hugging_face_types:
        raise UnsupportedError(f"Hugging Face has no model type for the {family.name} family")
    config: dict[str, object] = {"model_type": family.hugging_face_types[0]}
    for spec in family.fields:
        if not spec.hugging_face or spec.name not in fields or spec.name == "window_period":
            continue
        *outer, key = spec.hugging_face.split(".")
        place = config
        for part in outer:
            inner = place.setdefault(part, {})
            place = inner if isinstance(inner, dict) else {}
        place[key] = fields[spec.name]
    if "window_period" in fields:
        period, layers = int(fields["window_period"]), int(fields["layers"])
        config["layer_types"] = [
            "sliding_attention" if layer % period else "full_attention"
            for layer in range(1, layers + 1)
        ]
    if checkpoint.tokenizer is not None:
        config |= {"bos_token_id": checkpoint.tokenizer.bos}
        config |= {"eos_token_id": list(checkpoint.tokenizer.eos)}
    return json.dumps(config, indent=2).encode() + b"\n"
