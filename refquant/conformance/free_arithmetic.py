"""Operations that engines may compute in more than one way, within limits that the suite proves."""

import struct
from importlib import import_module
from typing import Final

import numpy as np

from refquant.conformance.operations import Arrays, Task
from refquant.errors import UnsupportedError

__all__ = ["FUNCTIONS", "perform"]

FUNCTIONS: Final = ("silu", "gelu", "gelu_tanh", "softmax")
"""Values of `params.function` besides `rms_norm`, by their names in `refquant.runtime.ops`."""


def perform(task: Task) -> Arrays:
    """The answer to a `quantize` or `function` case."""
    return _quantized(task) if task.op == "quantize" else _bent(task)


def _quantized(task: Task) -> Arrays:
    """Codes of numbers under a given scale: quotients, ties to even, the zero point, the limits."""
    x, scale = task.inputs["x"], task.inputs["scale"]
    if task.params["division"] != "any":
        raise UnsupportedError(f"no division is called {task.params['division']!r}")
    with np.errstate(over="ignore"):  # a quotient beyond all codes is held to their limits
        quotients = np.rint(x / scale).astype(np.float64)
    codes = quotients + int(task.params["zero_point"])
    return {"codes": np.clip(codes, int(task.params["low"]), int(task.params["high"]))}


def _bent(task: Task) -> Arrays:
    # The runtime is large, and quotients need none of it.
    ops = import_module("refquant.runtime.ops")
    name, x = task.params["function"], np.array(task.inputs["x"])
    if name == "rms_norm":
        (epsilon,) = struct.unpack(">f", bytes.fromhex(task.params["epsilon"]))
        return {"y": ops.rms_norm(x, task.inputs["weight"], epsilon)}
    if name not in FUNCTIONS:
        raise UnsupportedError(f"no function is called {name!r}")
    return {"y": getattr(ops, name)(x)}
