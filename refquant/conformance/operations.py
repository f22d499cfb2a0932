"""The operations of the suite as refquant computes them: arrays in, arrays out.

The reference engine is these functions behind the protocol; the mutation gate calls them directly
with a scheme, or one of the functions, replaced by a wrong one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic import (
    FixedPoint,
    QuantizedRows,
    integer_matmul,
    litert_asymmetric,
    litert_symmetric,
    requantize_double_rounding,
    requantize_single_rounding,
    requantize_ties_up,
    torchao_per_token,
    xnnpack_asymmetric,
)
from refquant.driver import Scheme
from refquant.errors import UnsupportedError
from refquant.layout import field_codes, pack_codes
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["OPERATIONS", "Arrays", "Task", "fitted", "perform"]

Arrays = Mapping[str, NDArray[Any]]
Find = Callable[[str], Scheme]


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be computed; `outputs` gives type and shape of every output."""

    op: str
    params: Mapping[str, Any]
    inputs: Arrays
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    find: Find = find_scheme

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor that the planes stand for."""
        return tuple(self.params["shape"])

    @property
    def axis(self) -> int:
        """The axis along which groups run."""
        return int(self.params.get("axis", -1))

    def tensor(self) -> QuantizedTensor:
        """The tensor of the inputs that are planes, which are all but activations."""
        found = self.find(self.params["scheme"])
        planes = {name: one for name, one in self.inputs.items() if name != "x"}
        return QuantizedTensor(found, self.shape, planes, self.axis)


def perform(task: Task) -> Arrays:
    """The outputs of a task. Raises UnsupportedError for an operation that is none of these."""
    if task.op not in OPERATIONS:
        raise UnsupportedError(f"no operation is called {task.op!r}")
    return OPERATIONS[task.op](task)


def _decode(task: Task) -> Arrays:
    return {"values": task.tensor().dequantize()}


def _encode(task: Task) -> Arrays:
    found = task.find(task.params["scheme"])
    return quantize(
        task.inputs["x"], found, task.axis, importance=task.inputs.get("importance")
    ).planes


def _unpack(task: Task) -> Arrays:
    tensor = task.tensor()
    layout = tensor.layout
    return {
        name: field_codes(layout, name, tensor.planes[layout.fields[name].plane], task.shape)
        for name in task.outputs
    }


def _pack(task: Task) -> Arrays:
    scheme = task.find(task.params["scheme"])
    sizes = {name: shape for name, (_, shape) in task.outputs.items()}
    planes = {name: np.zeros(shape, np.uint8) for name, shape in sizes.items()}
    layout = QuantizedTensor(scheme, task.shape, planes, task.axis).layout
    for name, codes in task.inputs.items():
        pack_codes(layout, name, codes, planes[layout.fields[name].plane], task.shape)
    return planes


QUANTIZERS: Final[Mapping[str, Callable[[NDArray[np.float32]], QuantizedRows]]] = {
    "litert_asymmetric": litert_asymmetric,
    "litert_symmetric": litert_symmetric,
    "torchao_per_token": torchao_per_token,
    "xnnpack_asymmetric": xnnpack_asymmetric,
}


def _quantize_rows(task: Task) -> Arrays:
    rows = _named(QUANTIZERS, task.params["contract"])(task.inputs["x"])
    return {"codes": rows.codes, "scale": rows.scale, "zero_point": rows.zero_point}


def _integer_matmul(task: Task) -> Arrays:
    return {"accumulators": integer_matmul(task.inputs["a"], task.inputs["b"])}


REQUANTIZERS: Final[Mapping[str, Callable[[NDArray[np.int32], FixedPoint], NDArray[np.int32]]]] = {
    "double_rounding": requantize_double_rounding,
    "single_rounding": requantize_single_rounding,
    "ties_up": requantize_ties_up,
}


def _requantize(task: Task) -> Arrays:
    function = _named(REQUANTIZERS, task.params["rounding"])
    by = FixedPoint(int(task.inputs["multiplier"][0]), int(task.inputs["shift"][0]))
    wide = function(task.inputs["accumulators"], by).astype(np.int64)
    wide += int(task.params["zero_point"])
    return {"codes": np.clip(wide, int(task.params["low"]), int(task.params["high"]))}


def _linear(task: Task) -> Arrays:
    if task.params["contract"] != "float32":
        raise UnsupportedError(f"no contract is called {task.params['contract']!r}")
    weights = task.tensor().dequantize()
    return {"y": task.inputs["x"] @ weights.T}


ELSEWHERE: Final[Mapping[str, str]] = {
    "quantize": "free_arithmetic",
    "function": "free_arithmetic",
    "layer": "static_layers",
    "container": "containers",
    "model": "file_models",
    "tokenize": "file_texts",
    "detokenize": "file_texts",
}
"""Operations with modules of their own, imported when one is asked for: most need much else."""


def _elsewhere(task: Task) -> Arrays:
    found: Arrays = import_module(f"refquant.conformance.{ELSEWHERE[task.op]}").perform(task)
    return found


def _named(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise UnsupportedError(f"no contract or rounding is called {name!r}")
    return table[name]


OPERATIONS: Final[Mapping[str, Callable[[Task], Arrays]]] = {
    "decode": _decode,
    "encode": _encode,
    "unpack": _unpack,
    "pack": _pack,
    "quantize_rows": _quantize_rows,
    "integer_matmul": _integer_matmul,
    "requantize": _requantize,
    "linear": _linear,
    **dict.fromkeys(ELSEWHERE, _elsewhere),
}
"""By the names of `conformance/SPEC.md`."""


def fitted(arrays: Arrays, outputs: Mapping[str, tuple[str, tuple[int, ...]]]) -> Arrays:
    """The outputs in the types and shapes that were asked for, refusing what does not fit."""
    fitting = {}
    for name, (dtype, shape) in outputs.items():
        found = np.asarray(arrays[name])
        if found.size != prod(shape):
            raise ValueError(f"{name} has shape {list(found.shape)}, expected {list(shape)}")
        fitting[name] = found.astype(dtype, copy=False).reshape(shape)
    return fitting
