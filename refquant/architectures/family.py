"""What a model family is, as data: its fields, its tensors and how others spell them.

Nothing here holds an array. A family says which numbers describe one of its models (`fields`),
which tensors such a model has and their shapes as products of those numbers, and how a GGUF file
or a Hugging Face directory writes the same facts.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, cast

from refquant.errors import FormatError

__all__ = [
    "Architecture",
    "Family",
    "FieldSpec",
    "FieldValue",
    "HuggingFaceForm",
    "ModelTensor",
    "TensorSpec",
]

FieldValue = int | float | str | bool
FieldKind = Literal["count", "number", "flag", "choice"]
HuggingFaceForm = Literal[
    "as it is", "transposed", "even", "odd", "even, transposed", "odd, transposed"
]
"""How a Hugging Face file holds a tensor of ours: `transposed` exchanges the last two axes, `even`
and `odd` take every second element of the last axis, from the first or the second on."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model's shape: the name of its family and a value for every field of that family."""

    family: str
    fields: Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One number, flag or choice that describes a model.

    A `count` is an integer in 1..`maximum`, a `number` a finite float above zero, a `flag` a bool
    and a `choice` one of `choices`. `gguf` and `hugging_face` are the keys under which the other
    formats keep it, empty where they imply it; `{arch}` in the first is a GGUF architecture's name.
    An `optional` field stands for something that not every model has, and a model without it leaves
    the field out.
    """

    name: str
    kind: FieldKind
    meaning: str
    gguf: str = ""
    hugging_face: str = ""
    maximum: int = 2**31 - 1
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def law(self) -> str:
        """What a value must be, in words."""
        if self.kind == "count":
            return f"an integer in 1..{self.maximum}"
        if self.kind == "number":
            return "a finite float above 0"
        if self.kind == "flag":
            return "true or false"
        return " or ".join(repr(choice) for choice in self.choices)

    def of(self, arch: str) -> "FieldSpec":
        """The same field in GGUF files of this architecture."""
        return dataclasses.replace(self, gguf=self.gguf.replace("{arch}", arch))

    def accepts(self, value: object) -> bool:
        """True if `value` keeps the law; an integer is not a number, nor a bool a count."""
        if self.kind == "count":
            return type(value) is int and 1 <= value <= self.maximum
        if self.kind == "number":
            return type(value) is float and math.isfinite(value) and value > 0.0
        if self.kind == "flag":
            return type(value) is bool
        return type(value) is str and value in self.choices


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a model, or one per layer if its name holds `{layer}`.

    Each entry of `shape` is a sum of products of numbers and field names, or a product's half,
    outermost axis first as in NumPy; a linear map is stored [outputs, inputs]. The tensor is
    absent from models that have the field `absent_if`, and present only in those that have the
    field `present_if`; a flag counts if it is set. `form` says how `hugging_face` holds it; a name
    there with `{expert}` is one tensor for each expert, stacked in order.
    """

    name: str
    shape: tuple[str, ...]
    hugging_face: str
    absent_if: str = ""
    present_if: str = ""
    form: HuggingFaceForm = "as it is"

    @property
    def formula(self) -> str:
        """The shape as it is printed: `[heads * head_width, width]`."""
        return f"[{', '.join(self.shape)}]"


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """One tensor of one model: names, shape, and the formula that the shape comes from.

    `hugging_face` are the tensors, in order, that a Hugging Face file holds for it under `form`.
    """

    name: str
    shape: tuple[int, ...]
    formula: str
    hugging_face: tuple[str, ...]
    form: HuggingFaceForm


@dataclass(frozen=True, slots=True)
class Family:
    """A model family as data.

    `rules` are relations between fields, each with the sentence that is printed when it fails.
    `unsupported_tensors` maps names (with `{layer}`) that a valid file of this kind may hold to
    the feature they stand for. `ignored_hugging_face` are endings of tensor names that Hugging
    Face files carry and no model needs; `hugging_face_prefix` stands before all names in files
    that hold the model inside of another one. `constants` are facts that hold for every model of
    the family, and so no file states them. `from_gguf(metadata, tensor_names)` and
    `from_hugging_face(config)` return the fields, or raise FormatError for missing or ill-typed
    metadata and UnsupportedError for a feature this family's runtime does not have.
    """

    name: str
    title: str
    fields: tuple[FieldSpec, ...]
    rules: tuple[tuple[str, Callable[[Mapping[str, FieldValue]], bool]], ...]
    tensor_specs: tuple[TensorSpec, ...]
    unsupported_tensors: Mapping[str, str]
    gguf_architectures: tuple[str, ...]
    hugging_face_types: tuple[str, ...]
    ignored_hugging_face: tuple[str, ...]
    from_gguf: Callable[[Mapping[str, object], Collection[str]], dict[str, FieldValue]]
    from_hugging_face: Callable[[Mapping[str, object]], dict[str, FieldValue]]
    constants: Mapping[str, FieldValue] = dataclasses.field(default_factory=dict)
    hugging_face_prefix: str = ""

    def check_fields(self, fields: Mapping[str, object], *, where: str = "architecture") -> None:
        """Raise FormatError E_ARCH_FIELD unless `fields` are complete, typed and consistent."""
        known = [spec.name for spec in self.fields]
        if unknown := sorted(set(fields) - set(known)):
            raise _field_error(f"family {self.name} has no field {unknown[0]!r}", where)
        if missing := [
            spec.name for spec in self.fields if spec.name not in fields and not spec.optional
        ]:
            raise _field_error(f"family {self.name} needs the field {missing[0]!r}", where)
        for spec in self.fields:
            if spec.name in fields and not spec.accepts(fields[spec.name]):
                found = f"{spec.name} is {fields[spec.name]!r}"
                raise _field_error(f"{found}, expected {spec.law}", where)
        values = cast(Mapping[str, FieldValue], fields)
        for sentence, holds in self.rules:
            if not holds(values):
                raise _field_error(f"{sentence}, found {dict(values)}", where)

    def model_tensors(self, fields: Mapping[str, FieldValue]) -> list[ModelTensor]:
        """Every tensor of a model with these fields, in file order: layer by layer."""
        present = [
            spec
            for spec in self.tensor_specs
            if not fields.get(spec.absent_if, False)
            and (spec.present_if == "" or fields.get(spec.present_if, False))
        ]
        return [
            ModelTensor(
                name=spec.name.format(layer=layer),
                shape=tuple(_length(formula, fields) for formula in spec.shape),
                formula=spec.formula,
                hugging_face=_sources(spec.hugging_face, layer, fields),
                form=spec.form,
            )
            for repeated, specs in _runs(present)
            for layer in range(int(fields["layers"]) if repeated else 1)
            for spec in specs
        ]

    def tensors(self, fields: Mapping[str, FieldValue]) -> dict[str, tuple[int, ...]]:
        """Every tensor's name and shape, in file order."""
        return {tensor.name: tensor.shape for tensor in self.model_tensors(fields)}

    def hugging_face_names(self, fields: Mapping[str, FieldValue]) -> dict[str, str]:
        """Hugging Face's name of every tensor, mapped to ours (the last of ours that it is in)."""
        return {
            name: tensor.name
            for tensor in self.model_tensors(fields)
            for name in tensor.hugging_face
        }


def _field_error(message: str, where: str) -> FormatError:
    return FormatError("E_ARCH_FIELD", message, where=where)


def _runs(specs: Iterable[TensorSpec]) -> list[tuple[bool, list[TensorSpec]]]:
    """Neighbours of one kind together, so that the tensors of a layer stay side by side."""
    runs = groupby(specs, key=lambda spec: "{layer}" in spec.name)
    return [(repeated, list(run)) for repeated, run in runs]


def _sources(pattern: str, layer: int, fields: Mapping[str, FieldValue]) -> tuple[str, ...]:
    if "{expert}" not in pattern:
        return (pattern.format(layer=layer),)
    return tuple(
        pattern.format(layer=layer, expert=expert) for expert in range(int(fields["experts"]))
    )


def _length(formula: str, fields: Mapping[str, FieldValue]) -> int:
    """`a * b + 2 * c`, or `a / 2`: no more than that."""
    whole, _, divisor = formula.partition(" / ")
    products = [
        math.prod(int(name) if name.isdigit() else int(fields[name]) for name in term.split(" * "))
        for term in whole.split(" + ")
    ]
    return sum(products) // int(divisor or 1)
