"""Weights at the boundaries between codes, where two roundings differ.

The scheme itself says where its boundaries are: a block is encoded, two neighbouring codes are
decoded, and the weight goes in the middle, or one ulp to a side.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Minifloat, field_codes
from refquant.tensor import QuantizedTensor, quantize
from refquant.testing.shapes import code_fields, code_range, tensor_of_codes
from refquant.testing.splitmix import SplitMix64

__all__ = ["near_ties"]

F32 = NDArray[np.float32]


def near_ties(
    random: SplitMix64, scheme: Scheme, shape: tuple[int, ...], ulps: int
) -> F32:  # -> f32[*shape]
    """Weights in the middle between two codes, `ulps` beside it, the extremes of groups kept.

    Decoded weights encode to a scale that its storage holds exactly, so that boundaries are the
    same for encoders that use the stored and the unrounded scale.
    """
    base = _with_plain_scales(quantize(random.bell(*shape), scheme))
    tensor = quantize(base.dequantize(), scheme)
    anchors = tensor.dequantize()
    middle = _middles(random, tensor)
    if ulps:
        toward = np.float32(np.inf if ulps > 0 else -np.inf)
        middle = np.nextafter(middle, toward)
    usable = np.isfinite(middle)
    if scheme.group != (1,):
        low, high = _extremes(anchors, scheme)
        usable &= (middle > low) & (middle < high) & (anchors > low) & (anchors < high)
    return np.where(usable, middle, anchors)


def _with_plain_scales(tensor: QuantizedTensor) -> QuantizedTensor:
    """The tensor with every other float parameter cut to a power of two, where ties are exact."""
    layout, plain = tensor.layout, {}
    for name, field in layout.fields.items():
        if isinstance(field.element, Minifloat) and name not in code_fields(layout):
            codes = field_codes(layout, name, tensor.planes[field.plane], tensor.shape)
            cut = codes >> field.element.mantissa << field.element.mantissa
            odd = np.arange(codes.size).reshape(codes.shape) % 2 == 1
            plain[name] = np.where(odd, codes, cut)
    return tensor_of_codes(tensor, plain)


def _middles(random: SplitMix64, tensor: QuantizedTensor) -> F32:
    """The middle between the values of two neighbouring codes, drawn for each weight."""
    layout, shape = tensor.layout, tensor.shape
    lower, upper = {}, {}
    for name in code_fields(layout):
        field = layout.fields[name]
        codes = field_codes(layout, name, tensor.planes[field.plane], shape).astype(np.int64)
        allowed = code_range(field.element)
        if len(allowed) <= 256:
            codes = random.below(len(allowed) - 1, *codes.shape) + allowed.start
        lower[name], upper[name] = codes, codes + 1
    a = tensor_of_codes(tensor, lower).dequantize().astype(np.float64)
    b = tensor_of_codes(tensor, upper).dequantize().astype(np.float64)
    return ((a + b) / 2).astype(np.float32)


def _extremes(x: F32, scheme: Scheme) -> tuple[F32, F32]:
    """The least and largest weight of each row's groups, spread over the weights."""
    size = scheme.group[-1] if len(scheme.group) == 1 else 0
    last = x.shape[-1]
    if not size or last % size:
        size = last
    cut = x.reshape(*x.shape[:-1], last // size, size)
    low = np.broadcast_to(cut.min(axis=-1, keepdims=True), cut.shape).reshape(x.shape)
    high = np.broadcast_to(cut.max(axis=-1, keepdims=True), cut.shape).reshape(x.shape)
    return low, high
