"""A model whose layers speak to each other in rotated coordinates, and computes the same.

What runs through a model's layers (the residual stream) can be turned by any orthogonal matrix R:
an RMS norm does not see it, matrices that read the stream are multiplied by R on their input side,
and those that write to it on their output side. With R made of Hadamard matrices an outlier is
spread over its slice, so that weights, and activations where they become integers, need fewer codes
for it. Norms' weights do not commute with R, so they go into the matrices behind them first. The
result is a plain model: whatever runs the original runs it.

Source: Ashkboos and others, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs" (2024), section
4, stage 1a, without random signs; rotations inside of attention and of the networks are left out,
since they would have to be done while the model runs.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate import hadamard_size, rotated
from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["rotated_checkpoint"]

F32 = NDArray[np.float32]

HEAD: Final = "output.weight"
EMBEDDING: Final = "token_embd.weight"

READERS: Final = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_qkv"), "attn_norm"),
    **dict.fromkeys(("ffn_gate", "ffn_up"), "ffn_norm"),
}
WRITERS: Final = ("attn_output", "ffn_down")
NORMS: Final = ("attn_norm", "ffn_norm")
UNTOUCHED: Final = ("attn_q_norm", "attn_k_norm", "attn_sinks")
"""What stands behind a product with the stream, and never sees it."""

_PART: Final = re.compile(r"blk\.\d+\.(\w+)\.(weight|bias)")


def rotated_checkpoint(
    checkpoint: Checkpoint, rotation: Literal["", "hadamard"] = "hadamard"
) -> Checkpoint:
    """The model in rotated coordinates, in float32, each tensor when it is asked for.

    A head that is tied to the embedding becomes a matrix of its own, since it takes the last norm
    in. Without a `rotation` the checkpoint stays as it is. Raises `UnsupportedError` for models
    with parts that a rotation changes: norms that take the mean off, norms behind the layers,
    experts, learned positions.
    """
    if not rotation:
        return checkpoint
    architecture = checkpoint.architecture
    if architecture is None:
        raise UnsupportedError("a rotation needs a model, and this file names no architecture")
    fields = dict(architecture.fields)
    _refuse(checkpoint)
    added = 1.0 if fields.get("norms_less_one") else 0.0
    aliases = {name: of for name, of in checkpoint.aliases.items() if name != HEAD}
    if "tied_embeddings" in fields:
        fields["tied_embeddings"] = False
    return replace(
        checkpoint,
        architecture=replace(architecture, fields=fields),
        tensors=_Rotated(checkpoint.tensors, np.float32(added)),
        aliases=aliases,
    )


def _refuse(checkpoint: Checkpoint) -> None:
    """Refuse what a rotation would change, by the tensors' names."""
    for name in checkpoint.tensors:
        found = _PART.fullmatch(name)
        part = found.group(1) if found else name
        known = {*READERS, *WRITERS, *UNTOUCHED} | (set() if name.endswith(".bias") else {*NORMS})
        outside = {EMBEDDING, HEAD, "output.bias", "output_norm.weight", "rope_freqs.weight"}
        if part not in known | outside:
            raise UnsupportedError(
                f"{name}: a rotation of what runs through the layers would change what it does"
            )
    width = checkpoint.tensors[EMBEDDING].shape[1]
    if hadamard_size(width) == 1:
        raise UnsupportedError(f"the model is {width} wide, and no Hadamard matrix divides that")


@dataclass(frozen=True, slots=True)
class _Rotated(Mapping[str, QuantizedTensor]):
    """Tensors in rotated coordinates; `added` is what the model adds to norms' weights."""

    original: Mapping[str, QuantizedTensor]
    added: np.float32

    def __iter__(self) -> Iterator[str]:
        yield from self.original
        if HEAD not in self.original:
            yield HEAD

    def __len__(self) -> int:
        return len(self.original) + (HEAD not in self.original)

    def __getitem__(self, name: str) -> QuantizedTensor:
        found = _PART.fullmatch(name)
        part = found.group(1) if found else name
        if part in UNTOUCHED or part in ("output.bias", "rope_freqs.weight"):
            return self.original[name]
        if part in NORMS or name == "output_norm.weight":
            weights = self._values(name)
            return _stored(np.full_like(weights, np.float32(1) - self.added))
        if part in READERS and name.endswith(".bias"):
            return self.original[name]
        return _stored(self._turned(name, part))

    def _turned(self, name: str, part: str) -> F32:
        if part in WRITERS:
            return rotated(self._values(name).T).T
        if name == EMBEDDING:
            return rotated(self._values(name))
        norm = "output_norm" if name == HEAD else name.replace(f".{part}.", f".{READERS[part]}.")
        scale = self._values(norm.removesuffix(".weight") + ".weight") + self.added
        stored = EMBEDDING if name == HEAD and HEAD not in self.original else name
        return rotated(self._values(stored) * scale)

    def _values(self, name: str) -> F32:
        return self.original[name].dequantize()


def _stored(values: F32) -> QuantizedTensor:
    return quantize(np.ascontiguousarray(values), "float/f32")
