"""Tensors that a Hugging Face file holds in another form than ours: turned, parted, or in pieces.

Elements are moved and never changed: what is float32, float16 or bfloat16 there is so here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import ModelTensor
from refquant.errors import FormatError
from refquant.formats.safetensors import StoredTensor

__all__ = ["Source", "rearranged", "source_of"]

ELEMENT_BYTES: Final[Mapping[str, int]] = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Source:
    """The stored tensors that one of ours is made of, and the form in which they hold it."""

    parts: tuple[StoredTensor, ...]
    model: ModelTensor

    @property
    def dtype(self) -> str:
        """The file's type of the elements."""
        return self.parts[0].dtype

    @property
    def is_plain(self) -> bool:
        """True if the bytes are ours as they lie."""
        return len(self.parts) == 1 and self.model.form == "as it is"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the tensor has for us."""
        shape = self.parts[0].shape
        if self.model.form.startswith(("even", "odd")):
            shape = (*shape[:-1], shape[-1] // 2)
        if self.model.form.endswith("transposed"):
            shape = (*shape[:-2], shape[-1], shape[-2])
        return shape if len(self.parts) == 1 else (len(self.parts), *shape)


def source_of(model: ModelTensor, stored: Mapping[str, StoredTensor], prefix: str) -> Source | None:
    """Where a file holds a tensor of ours, or None if it does not.

    FormatError E_HF_TENSOR for pieces of different types or shapes, or too few axes to turn.
    """
    found = [stored.get(name) or stored.get(prefix + name) for name in model.hugging_face]
    parts = tuple(one for one in found if one is not None)
    if len(parts) != len(model.hugging_face):
        return None
    axes = {"as it is": 0, "even": 1, "odd": 1}.get(model.form, 2)
    alike = {(one.dtype, one.shape) for one in parts}
    if len(alike) > 1 or len(parts[0].shape) < axes:
        raise FormatError(
            "E_HF_TENSOR",
            f"{model.name} is made of tensors of {len(alike)} types and shapes, "
            f"{parts[0].dtype}{list(parts[0].shape)} among them",
            where=parts[0].name,
        )
    return Source(parts, model)


def rearranged(source: Source) -> NDArray[np.uint8]:
    """The bytes of a tensor in our form; those of a plain one are not copied."""
    if source.is_plain:
        return source.parts[0].data
    return np.concatenate([_turned(one, source) for one in source.parts])


def _turned(stored: StoredTensor, source: Source) -> NDArray[np.uint8]:
    size = ELEMENT_BYTES.get(stored.dtype, 1)
    flat: Sequence[int] = (*stored.shape, size)
    elements = stored.data[: prod(flat)].reshape(flat)
    form = source.model.form
    if form.startswith("even"):
        elements = elements[..., 0::2, :]
    if form.startswith("odd"):
        elements = elements[..., 1::2, :]
    if form.endswith("transposed"):
        elements = elements.swapaxes(-3, -2)
    return np.ascontiguousarray(elements).reshape(-1)
