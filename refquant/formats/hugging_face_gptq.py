"""Matrices in the words of GPTQ's checkpoints: `qweight`, `qzeros`, `scales` and `g_idx`.

`config.json` says under `quantization_config` how many bits and inputs a group has, and in which
version zero points are stored. No byte is changed. Where `g_idx` names the groups in runs, as
it does without `desc_act`, it says nothing and is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from refquant.architectures import ModelTensor
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.safetensors import StoredTensor
from refquant.schemes import scheme
from refquant.tensor import QuantizedTensor

__all__ = ["Gptq", "GptqMatrix", "gptq_matrix", "gptq_of"]

VERSIONS: Final[Mapping[object, int]] = {"gptq": 1, "gptq_v2": 2}


@dataclass(frozen=True, slots=True)
class Gptq:
    """What a configuration says of all matrices; `group` is 0 for one group an output."""

    bits: int
    group: int
    version: int
    is_symmetric: bool

    def scheme_name(self, *, by_index: bool) -> str:
        """The scheme of a matrix, whose inputs name their groups or lie in runs."""
        knobs = [f"v={self.version}", "sym" if self.is_symmetric else "asym"]
        knobs.append(f"group={self.group}" if self.group else "channel")
        knobs += ["order=act"] if by_index else []
        knobs += ["words=rows"] if self.bits == 3 else []
        return f"gptq/int{self.bits}[{','.join(knobs)}]"


def gptq_of(config: Mapping[str, object]) -> Gptq | None:
    """What `config.json` says of GPTQ, None if nothing; UnsupportedError for what is not read."""
    stated = config.get("quantization_config")
    if not isinstance(stated, dict) or stated.get("quant_method") != "gptq":
        return None
    bits, group = stated.get("bits"), stated.get("group_size", -1)
    version = VERSIONS.get(stated.get("checkpoint_format") or "gptq")
    if type(bits) is not int or type(group) is not int or version is None or stated.get("dynamic"):
        raise UnsupportedError(
            f"quantization_config: bits {bits!r}, group_size {group!r}, checkpoint_format "
            f"{stated.get('checkpoint_format')!r}, dynamic {bool(stated.get('dynamic'))} is not "
            "read; expected integers, gptq or gptq_v2, and the same for all matrices"
        )
    found = Gptq(bits, max(group, 0), version, stated.get("sym") is not False)
    try:
        scheme(found.scheme_name(by_index=True))
    except UsageError as error:
        raise UnsupportedError(f"quantization_config: {error}") from error
    return found


@dataclass(frozen=True, slots=True)
class GptqMatrix:
    """The stored parts of one matrix: codes, zero points, scales, and groups if they are named."""

    parts: tuple[StoredTensor, ...]
    model: ModelTensor
    gptq: Gptq

    @property
    def dtype(self) -> str:
        """What the parts are together."""
        return "GPTQ"

    @property
    def shape(self) -> tuple[int, ...]:
        """Outputs and inputs."""
        rows, outputs = self.parts[0].shape
        return (outputs, rows * 32 // self.gptq.bits)

    def tensor(self) -> QuantizedTensor:
        """The matrix, with the index of its groups where they are no runs."""
        names = ("qweight", "qzeros", "scales", "g_idx")
        planes = {name: part.data for name, part in zip(names, self.parts, strict=False)}
        by_index = "g_idx" in planes and not self._has_runs()
        if by_index:
            self._check_index()
        if not by_index:
            planes.pop("g_idx", None)
        name = self.gptq.scheme_name(by_index=by_index)
        return QuantizedTensor.from_planes(name, self.shape, planes)

    def _has_runs(self) -> bool:
        index = np.frombuffer(self.parts[3].data, "<i4")
        inputs = np.arange(index.size)
        return bool((index == inputs // (self.gptq.group or index.size)).all())

    def _check_index(self) -> None:
        index, groups = np.frombuffer(self.parts[3].data, "<i4"), self.parts[2].shape[0]
        wrong = np.flatnonzero((index < 0) | (index >= groups))
        if wrong.size:
            message = f"input {wrong[0]} names group {index[wrong[0]]} of {groups}"
            raise FormatError("E_HF_TENSOR", message, where=self.parts[3].name)


def gptq_matrix(
    model: ModelTensor, stored: Mapping[str, StoredTensor], prefix: str, gptq: Gptq
) -> GptqMatrix | None:
    """Where a file holds a tensor of ours in words, or None if it does not.

    FormatError E_HF_TENSOR for parts that do not fit one another.
    """
    base = model.hugging_face[0].removesuffix(".weight")
    if f"{base}.qweight" not in stored:
        base = prefix + base
    if f"{base}.qweight" not in stored or len(model.hugging_face) > 1:
        return None
    parts = [stored.get(f"{base}.{part}") for part in ("qweight", "qzeros", "scales", "g_idx")]
    if model.form != "as it is":
        raise UnsupportedError(f"{base}.qweight is of a matrix that is stored {model.form}")
    found = tuple(part for part in parts if part is not None)
    if None in parts[:3] or not _fit(found, gptq):
        shown = ", ".join(f"{one.dtype}{list(one.shape)}" for one in found)
        message = f"{shown} are no codes, zero points and scales of {gptq.bits} bits"
        raise FormatError("E_HF_TENSOR", message, where=found[0].name)
    return GptqMatrix(found, model, gptq)


def _fit(parts: tuple[StoredTensor, ...], gptq: Gptq) -> bool:
    """Whether the parts have the types and shapes of one matrix."""
    codes = parts[0].shape
    if len(codes) != 2 or 0 in codes or codes[0] * 32 % gptq.bits:
        return False
    inputs, outputs = codes[0] * 32 // gptq.bits, codes[1]
    groups = ceil(inputs / gptq.group) if gptq.group else 1  # exact: far below 2^53
    expected = [
        ("I32", codes),
        ("I32", (groups, ceil(outputs * gptq.bits / 32))),  # exact: likewise
        ("F16", (groups, outputs)),
        ("I32", (inputs,)),
    ]
    return [(one.dtype, one.shape) for one in parts] == expected[: len(parts)]
