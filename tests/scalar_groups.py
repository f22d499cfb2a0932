"""Integer schemes compared with scalar oracles that see one group of weights at a time."""

import numpy as np

import refquant
from refquant.testing.inputs import adversarial_inputs
from tests.tensor_parts import all_codes

__all__ = ["compare", "group_places"]


def group_places(scheme, shape):
    """The places of the weights that share a scale, group by group, in a matrix of `shape`."""
    rows = [[(r, c) for c in range(shape[1])] for r in range(shape[0])]
    if len(scheme.group) > 1:
        return [[place for row in rows for place in row]]
    size = scheme.group[0] or shape[1]
    return [row[start : start + size] for row in rows for start in range(0, shape[1], size)]


def compare(name, encode, packed, value, shape=None, inputs_of=None):
    """Every kind of adversarial weights: parameters, codes, bytes and values equal the oracle's.

    `encode(weights, bits, knobs)` gives the bits of the scale, the zero point or the bits of the
    offset, and codes; `packed(codes, bits, knobs)` the bytes of a row; `value(scale, zero, code,
    knobs)` the number. `inputs_of` names the scheme that the weights are aimed at, if another.
    """
    scheme = refquant.scheme(name)
    knobs, bits = scheme.parameters, scheme.layout.fields["q"].element.bits
    for kind, x in adversarial_inputs(inputs_of or scheme, shape).items():
        tensor = refquant.quantize(x, scheme)
        parameters = all_codes(tensor)
        values, codes = tensor.dequantize(), np.zeros(x.shape, int)
        for number, places in enumerate(group_places(scheme, x.shape)):
            scale, zero, found = encode([float(x[p]) for p in places], bits, knobs)
            assert int(parameters["s"].reshape(-1)[number]) == scale, (name, kind, places[0])
            if "z" in parameters:
                shift = 1 if scheme.layout.fields["z"].element.bits == 1 else 0
                stored = int(parameters["z"].reshape(-1)[number])
                assert stored - shift == zero, (name, kind, places[0])
            for place, code in zip(places, found, strict=True):
                codes[place] = code
                exact = np.float32(value(scale, zero, code, knobs))
                assert np.array_equal(values[place], exact, equal_nan=True), (name, kind, place)
                assert np.isnan(exact) or np.signbit(exact) == np.signbit(values[place])
        rows = b"".join(packed(row.tolist(), bits, knobs) for row in codes)
        assert tensor.planes["codes"].tobytes() == rows, (name, kind)
