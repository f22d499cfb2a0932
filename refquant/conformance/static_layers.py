"""The operation of the suite on whole integer layers with scales that were found beforehand."""

import struct

from refquant.arithmetic.static import (
    STATIC,
    StaticLayer,
    StaticParameters,
    static_codes,
    static_layer,
    static_values,
)
from refquant.conformance.operations import Arrays, Task
from refquant.errors import UnsupportedError

__all__ = ["layer_of", "perform"]


def perform(task: Task) -> Arrays:
    """Codes of the input, codes of the output, and the numbers that these stand for."""
    contract, layer = task.params["contract"], layer_of(task)
    known = layer.parameters
    x, bias = task.inputs["x"], task.inputs.get("bias")
    inputs = static_codes(contract, x, known.input_scale, known.input_zero_point)
    codes = layer.codes(inputs, bias)
    y = static_values(contract, codes, known.output_scale, known.output_zero_point)
    return {"inputs": inputs, "codes": codes, "y": y}


def layer_of(task: Task) -> StaticLayer:
    """The layer that a case describes."""
    params = task.params
    if params["contract"] not in STATIC:
        raise UnsupportedError(f"no static contract is called {params['contract']!r}")
    known = StaticParameters(
        _number(params["input_scale"]),
        int(params["input_zero_point"]),
        _number(params["output_scale"]),
        int(params["output_zero_point"]),
    )
    return static_layer(params["contract"], known, task.inputs["weights"], task.inputs["scale"])


def _number(bits: str) -> float:
    """A binary32 number from its bits in hexadecimal (S-1)."""
    return float(struct.unpack(">f", bytes.fromhex(bits))[0])
