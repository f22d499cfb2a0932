"""Tensors of any bytes to decode, all weights to encode, and the numbers that fields hold."""

from functools import cache

import numpy as np

import refquant
from refquant.layout import Digits, Minifloat, field_codes, numbers, pack_codes
from tests.ggml_inputs import weights

__all__ = [
    "BLOCKS",
    "all_codes",
    "all_numbers",
    "any_planes",
    "any_tensor",
    "codes_of",
    "every_distribution",
    "field_numbers",
]

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
    """A tensor of any bytes in which all codes of up to 8 bits occur."""
    scheme = refquant.scheme(name)
    planes = any_planes(scheme.layout, shape, seed)
    for field_name, field in scheme.layout.fields.items():
        codes = field_codes(scheme.layout, field_name, planes[field.plane], shape)
        if codes.size >= np.prod(shape) and not isinstance(field.element, Digits):
            missing = (1 << field.element.bits) - len(np.unique(codes))
            assert field.element.bits > 8 or not missing, "not all codes occur"
    for records in planes.values():
        records.flags.writeable = False
    return refquant.QuantizedTensor(scheme, shape, planes)


def any_planes(layout, shape, seed=0):
    """Random bytes for every plane; float parameters are special every third time.

    Special are zeros of either sign, the least and the largest number, infinities and NaN, as far
    as the type has them.
    """
    rng = np.random.default_rng(seed)
    planes = {
        name: rng.integers(0, 256, (*layout.grid(name, shape), declared.bytes), np.uint8)
        for name, declared in layout.planes.items()
    }
    for name, field in layout.fields.items():
        if not isinstance(field.element, Minifloat) or field.element.bits < 8:
            continue
        codes = field_codes(layout, name, planes[field.plane], shape)
        kinds = special_codes(field.element).astype(codes.dtype)
        special = kinds[rng.integers(0, len(kinds), codes.shape)]
        codes = np.where(rng.random(codes.shape) < 1 / 3, special, codes)
        pack_codes(layout, name, codes, planes[field.plane], shape)
    return planes


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


def codes_of(tensor, name):  # -> integers
    """The codes of one field of a tensor."""
    plane = tensor.layout.fields[name].plane
    return field_codes(tensor.layout, name, tensor.planes[plane], tensor.shape)


def all_codes(tensor):  # -> {field: integers}
    """The codes of every field."""
    return {name: codes_of(tensor, name) for name in tensor.layout.fields}


def field_numbers(tensor, name):  # -> integers of a field, or binary32
    """What a field of a tensor holds, one number for each code."""
    field, codes = tensor.layout.fields[name], codes_of(tensor, name)
    return numbers(codes, field.element) if isinstance(field.element, Minifloat) else codes


def all_numbers(tensor):  # -> {field: int32 or binary32}
    """What every field holds; integers in a type that products of theirs fit into."""
    found = {name: field_numbers(tensor, name) for name in tensor.layout.fields}
    return {n: x if x.dtype == np.float32 else x.astype(np.int32) for n, x in found.items()}
