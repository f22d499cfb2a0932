"""Tensors that a Hugging Face file holds in another form than ours: turned, parted, or in pieces.

Elements are moved and never changed: what is float32, float16 or bfloat16 there is so here, and
experts that gpt-oss stores as MXFP4 keep every code and scale.
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
from refquant.tensor import QuantizedTensor

__all__ = ["Experts", "Source", "rearranged", "source_of"]

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


@dataclass(frozen=True, slots=True)
class Experts:
    """Experts as MXFP4: codes [experts, rows, groups, 16] and scales [experts, rows, groups].

    Rows are outputs already, so the form only says which of them are ours.
    """

    parts: tuple[StoredTensor, StoredTensor]
    model: ModelTensor

    @property
    def dtype(self) -> str:
        """What the two tensors are together."""
        return "MXFP4"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the tensor has for us."""
        experts, rows, groups = self.parts[1].shape
        return (experts, len(range(rows)[self._rows]), 32 * groups)

    @property
    def _rows(self) -> slice:
        starts = {"even, transposed": 0, "odd, transposed": 1}
        return slice(starts.get(self.model.form, 0), None, 2 if self.model.form in starts else 1)

    def tensor(self) -> QuantizedTensor:
        """The codes and scales of our rows."""
        planes = {
            plane: np.ascontiguousarray(one.data.reshape(one.shape)[:, self._rows]).reshape(-1)
            for plane, one in zip(("codes", "scales"), self.parts, strict=True)
        }
        return QuantizedTensor.from_planes("mx/mxfp4", self.shape, planes)


def source_of(
    model: ModelTensor, stored: Mapping[str, StoredTensor], prefix: str
) -> Source | Experts | None:
    """Where a file holds a tensor of ours, or None if it does not.

    FormatError E_HF_TENSOR for pieces of different types or shapes, or too few axes to turn.
    """
    codes, scales = (stored.get(f"{model.hugging_face[0]}_{part}") for part in ("blocks", "scales"))
    if codes is not None and scales is not None:
        return _experts(codes, scales, model)
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


def _experts(codes: StoredTensor, scales: StoredTensor, model: ModelTensor) -> Experts:
    if len(scales.shape) != 3 or codes.shape != (*scales.shape, 16):
        raise FormatError(
            "E_HF_TENSOR",
            f"codes are {list(codes.shape)} and scales {list(scales.shape)}, "
            "expected [experts, rows, groups, 16] and [experts, rows, groups]",
            where=codes.name,
        )
    if {codes.dtype, scales.dtype} != {"U8"}:
        raise FormatError(
            "E_HF_TENSOR",
            f"codes are {codes.dtype} and scales {scales.dtype}, expected U8",
            where=codes.name,
        )
    return Experts((codes, scales), model)


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
