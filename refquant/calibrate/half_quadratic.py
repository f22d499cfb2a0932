"""HQQ: the offset of each group moves until most of its weights are hit well, without any data.

The error `|W - Wr|**p` with p < 1 forgives outliers. It is split in half: what a few weights miss
(the proximal operator of the norm, which shrinks errors towards 0) is set apart, and the offset
becomes the mean of what would hit the rest. Scales stay as the scheme's own encoder chose them.

    rest = W - Wr;  apart = sign(rest) * max(|rest| - |rest|**(p - 1) / beta, 0)
    zero = mean(code - (W - apart) / scale);  beta grows by kappa each round

Source: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023), with
the constants of their package (hqq 0.2.8). The schemes `hqq/affine[solver=proximal]` and
`torchao/hqq` are the packages' own results; here the same search serves every scheme that stores a
real offset beside each scale, and the best round counts for each group, not for the tensor.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate.levels import Levels, code_field, with_codes
from refquant.driver import Scheme
from refquant.errors import SchemeError, UsageError
from refquant.layout import Layout, Minifloat, field_codes, pack_codes
from refquant.numerics import bfloat16_bits, float16_bits
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["HqqOptions", "hqq", "offset_field"]

F32 = NDArray[np.float32]

PROBE: Final = np.float32(1)

GAIN: Final = 1e-4
"""The part by which a round has to lower the sum of all groups for another to follow."""


@dataclass(frozen=True, slots=True)
class HqqOptions:
    """The norm p, the strength beta and its growth kappa, and how many rounds are made."""

    norm: float = 0.7
    beta: float = 10.0
    kappa: float = 1.01
    rounds: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.norm <= 1 or not self.beta > 0 or not self.kappa >= 1 or self.rounds < 1:
            raise UsageError(
                f"HQQ's norm is {self.norm}, beta {self.beta}, kappa {self.kappa}, rounds "
                f"{self.rounds}; expected 0 to 1, more than 0, at least 1, at least 1"
            )


def offset_field(layout: Layout) -> str | None:
    """The field of real numbers that moves a group's values without stretching them, if any."""
    codes = code_field(layout)
    reals = [
        name
        for name, field in layout.fields.items()
        if name != codes and isinstance(field.element, Minifloat)
    ]
    moving = [name for name in reals if _moves(layout.value, name)]
    return moving[0] if len(reals) == 2 and len(moving) == 1 else None


def _moves(value: object, name: str) -> bool:
    """Whether a field is a term of a sum, and not a factor of anything else."""
    if not isinstance(value, tuple):
        return False
    if value[0] in ("add", "sub") and name in value[1:]:
        return True
    return any(_moves(part, name) for part in value[1:])


def hqq(
    weights: F32, scheme: Scheme, options: HqqOptions | None = None
) -> QuantizedTensor:  # f32[n, k] -> packed[n, k]
    """The weights under `scheme`, with the offsets and codes that HQQ finds.

    Raises `SchemeError` for a scheme without a real offset in each group.
    """
    asked = options or HqqOptions()
    start = quantize(weights, scheme)
    name = None if scheme.operators else offset_field(start.layout)
    if name is None:
        raise SchemeError(
            "HQQ moves the real offset of each group, and this scheme has none (ggml/q4_1, "
            "torchao/int4_tinygemm, hqq/affine and mlx/affine have)",
            scheme=scheme.name,
        )
    groups = _Affine(start, name)
    rows = weights.reshape(groups.count, -1)
    return groups.encoded(weights, _moved_zeros(rows, groups, asked))


def _moved_zeros(rows: F32, groups: "_Affine", asked: HqqOptions) -> F32:  # f32[g, n] -> f32[g, 1]
    """The zero of each group after its best round; rounds end when they gain next to nothing."""
    best: F32 = groups.zero
    least = np.full(groups.count, np.inf, np.float32)
    zero, beta, before = groups.zero, np.float32(asked.beta), np.inf
    for _ in range(asked.rounds + 1):
        codes = np.clip(np.rint(rows * groups.inverse + zero), 0, groups.largest)
        rest = rows - (codes - zero) * groups.step
        magnitude = np.abs(rest)
        powers = magnitude ** np.float32(asked.norm)
        missed = np.sum(powers, axis=1)
        better = missed < least
        best, least = np.where(better[:, None], zero, best), np.minimum(missed, least)
        total = float(np.sum(least, dtype=np.float64))
        if not total < before * (1 - GAIN):
            break
        before = total
        # What is set apart: the proximal operator of the norm, which leaves 0 where it is.
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.fmax(magnitude - powers / magnitude / beta, np.float32(0))
        kept = rows - np.copysign(left, rest)
        zero = np.mean(codes - kept * groups.inverse, axis=1, keepdims=True, dtype=np.float32)
        beta *= np.float32(asked.kappa)
    return best


class _Affine:
    """A tensor's groups as `value = (code - zero) * step`, and the way back into its fields.

    `zero` and `step` are f32[groups, 1] and follow from the values that the tensor has where its
    codes, or its offsets, are set to other ones.
    """

    def __init__(self, tensor: QuantizedTensor, name: str) -> None:
        self.tensor, self.name = tensor, name
        layout, shape = tensor.layout, tensor.shape
        field = layout.fields[name]
        stored = field_codes(layout, name, tensor.planes[field.plane], shape)
        self.offsets_shape = stored.shape
        group = shape[-1] // stored.shape[-1]
        self.count = stored.size
        levels = Levels(tensor)
        self.first, self.largest = int(levels.codes[0]), np.float32(len(levels.codes) - 1)
        low, high = (
            value.reshape(-1, group)[:, :1] for value in (levels.values[0], levels.values[-1])
        )
        step = (high - low) / self.largest
        self.step = np.where(step == 0, np.float32(1), step)
        self.inverse = np.float32(1) / self.step
        self.zero = -low * self.inverse

    def encoded(self, weights: F32, zero: F32) -> QuantizedTensor:
        """The tensor with other offsets, and the codes nearest to the weights under these."""
        at_zero, at_one = (
            self._moved(np.full(self.offsets_shape, value, np.float32)) for value in (0, PROBE)
        )
        first_value = -zero * self.step
        offsets = (first_value - at_zero) / (at_one - at_zero)
        tensor = self._with_offsets(offsets.reshape(self.offsets_shape).astype(np.float32))
        return with_codes(tensor, Levels(tensor).nearest_codes(weights))

    def _moved(self, offsets: F32) -> F32:
        """The value of the first code of each group under some offsets."""
        tensor = self._with_offsets(offsets)
        code = np.full(tensor.shape, self.first, np.int16)
        group = tensor.shape[-1] // self.offsets_shape[-1]
        return with_codes(tensor, code).dequantize().reshape(-1, group)[:, :1]

    def _with_offsets(self, offsets: F32) -> QuantizedTensor:
        layout, shape = self.tensor.layout, self.tensor.shape
        plane = layout.fields[self.name].plane
        packed = np.zeros_like(self.tensor.planes[plane])
        for other, field in layout.fields.items():
            if field.plane == plane:
                kept = (
                    _bits(layout, other, offsets)
                    if other == self.name
                    else field_codes(layout, other, self.tensor.planes[plane], shape)
                )
                pack_codes(layout, other, kept, packed, shape)
        planes = {**self.tensor.planes, plane: packed}
        return QuantizedTensor(self.tensor.scheme, shape, planes, self.tensor.axis)


def _bits(layout: Layout, name: str, values: F32) -> NDArray[np.integer]:
    """Values as the bits of a field's floating-point numbers."""
    element = layout.fields[name].element
    kind = (element.exponent, element.mantissa) if isinstance(element, Minifloat) else None
    if kind == (8, 23):
        return np.ascontiguousarray(values, np.float32).view(np.uint32)
    if kind == (8, 7):
        return bfloat16_bits(values)
    if kind == (5, 10):
        return float16_bits(values)
    raise SchemeError(f"offsets in {element}: HQQ writes float32, float16 and bfloat16")
