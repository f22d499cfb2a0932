"""Tensors of any bytes to decode, all weights to encode, and the numbers that fields hold."""

from functools import cache

import numpy as np

import refquant
from refquant.layout import Digits, Minifloat, field_codes, numbers, pack_codes
from tests.ggml_inputs import weights

__all__ = ["BLOCKS", "any_tensor", "every_distribution", "field_numbers"]

BLOCKS = 1400
"""Super-blocks of 256 of each of twelve distributions: more than 2**22 weights together."""

SHAPE = (256, 1024)


@cache
def every_distribution(width=1024, blocks=BLOCKS):  # -> f32[rows, width]
    """All finite distributions of weights below each other; the same array for all who ask.

    Rows of another width than a divisor of 1024 are cut from those of 1024.
    """
    row = width if 1024 % width == 0 else 1024
    x = np.concatenate([x.reshape(-1, row)[:, :width] for _, x in weights(blocks, finite=True)])
    x.flags.writeable = False
    return x


def any_tensor(name, shape=SHAPE, seed=0):
    """A tensor of random bytes; float parameters are special every third time.

    Special are zeros of either sign, the least and the largest number, infinities and NaN, as far
    as the type has them. All codes of up to 8 bits occur.
    """
    scheme, rng = refquant.scheme(name), np.random.default_rng(seed)
    planes = {
        plane: rng.integers(0, 256, (*scheme.layout.grid(plane, shape), declared.bytes), np.uint8)
        for plane, declared in scheme.planes.items()
    }
    for field_name, field in scheme.layout.fields.items():
        element = field.element
        codes = field_codes(scheme.layout, field_name, planes[field.plane], shape)
        if isinstance(element, Minifloat) and element.bits >= 8:
            special = special_codes(element)[
                rng.integers(0, len(special_codes(element)), codes.shape)
            ]
            chosen = rng.random(codes.shape) < 1 / 3
            codes = np.where(chosen, special.astype(codes.dtype), codes)
            pack_codes(scheme.layout, field_name, codes, planes[field.plane], shape)
        if codes.size >= np.prod(shape) and not isinstance(element, Digits) and element.bits <= 8:
            assert len(np.unique(codes)) == 1 << element.bits, "not all codes occur"
    for records in planes.values():
        records.flags.writeable = False
    return refquant.QuantizedTensor(scheme, shape, planes)


def special_codes(element):  # -> int[n]
    """Codes of the numbers at the edges of a float type, of either sign."""
    top = 1 << (element.exponent + element.mantissa)
    reach = 1 << element.mantissa
    codes = {
        0,
        1,
        reach - 1,
        reach,
        top - 1,
        top - 2,
        top - reach,
        top - reach - 1,
        top - reach + 1,
    }
    codes = {code for code in codes if 0 <= code < top}
    return np.array(sorted(codes | ({code | top for code in codes} if element.sign else set())))


def field_numbers(tensor, name):  # -> integers of a field, or binary32
    """What a field of a tensor holds, one number for each code."""
    field = tensor.layout.fields[name]
    codes = field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
    return numbers(codes, field.element) if isinstance(field.element, Minifloat) else codes
