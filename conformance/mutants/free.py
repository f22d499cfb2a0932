"""Wrong codes under a given scale, and functions that are others than they are called."""

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from conformance.mutants import OperationMutant
from refquant.conformance.operations import Arrays, Task
from refquant.runtime import ops

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def _codes(
    rounded: Callable[[F32], NDArray[np.floating]],
    *,
    zero: int = 0,
    behind: bool = True,
    least: int = 0,
    wraps: bool = False,
    reciprocal: type[np.floating] | None = None,
) -> Callable[[Task], Arrays]:
    """Quantization with one step done otherwise."""

    def compute(task: Task) -> Arrays:
        x, scale, point = task.inputs["x"], task.inputs["scale"], int(task.params["zero_point"])
        low, high = int(task.params["low"]) + least, int(task.params["high"])
        quotients = x / scale
        if reciprocal is not None:
            quotients = x * (np.float32(1) / scale).astype(reciprocal).astype(np.float32)
        moved = np.float32(point + zero)
        codes = rounded(quotients) + moved if behind else rounded(quotients + moved)
        if not wraps:
            return {"codes": np.clip(codes, low, high)}
        whole = np.nan_to_num(codes.astype(np.float64)).clip(-(2.0**62), 2.0**62).astype(np.int64)
        return {"codes": (whole - low) % (high - low + 1) + low}

    return compute


def _half_away(x: F32) -> NDArray[np.floating]:
    return np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)


QUOTIENTS: dict[str, tuple[str, Callable[[Task], Arrays]]] = {
    "half-away": ("ties go away from zero", _codes(_half_away)),
    "truncates": ("quotients are cut to codes", _codes(np.trunc)),
    "floors": ("quotients are rounded down", _codes(np.floor)),
    "zero-point-first": ("the zero point is added before rounding", _codes(np.rint, behind=False)),
    "zero-point-plus-one": ("a zero point one too large", _codes(np.rint, zero=1)),
    "narrow-range": ("the least code is not used", _codes(np.rint, least=1)),
    "wraps": ("codes wrap where they should saturate", _codes(np.rint, wraps=True)),
    "reciprocal-in-binary16": (
        "the reciprocal of the scale is rounded to binary16",
        _codes(np.rint, reciprocal=np.float16),
    ),
}


def _bent(function: Callable[[F32], NDArray[np.floating]]) -> Callable[[Task], Arrays]:
    return lambda task: {"y": function(task.inputs["x"])}


def _half(x: F32) -> F32:
    return x.astype(np.float16).astype(np.float32)


def _sigmoid(x: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-x)))


def _unshifted(x: F32) -> F32:
    raised = np.exp(x)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _coarse(x: F32) -> F32:
    raised = _half(np.exp(x - x.max(axis=-1, keepdims=True)))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _base_two(x: F32) -> F32:
    raised = np.exp2(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _normed(
    *, centred: bool = False, outside: bool = False, more: float = 0, half: bool = False
) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        x, weight = task.inputs["x"], task.inputs["weight"] + np.float32(more)
        (epsilon,) = struct.unpack(">f", bytes.fromhex(task.params["epsilon"]))
        x = x - x.mean(axis=-1, keepdims=True) if centred else x
        mean = (_half(x * x) if half else x * x).mean(axis=-1, keepdims=True)
        root = np.sqrt(mean) + epsilon if outside else np.sqrt(mean + epsilon)
        return {"y": (x / root * weight).astype(np.float32)}

    return compute


FUNCTIONS: dict[str, dict[str, tuple[str, Callable[[Task], Arrays]]]] = {
    "silu": {
        "is-the-sigmoid": ("the sigmoid alone", _bent(_sigmoid)),
        "is-hard": ("piecewise linear", _bent(lambda x: x * np.clip(x / 6 + 0.5, 0, 1))),
        "in-binary16": ("the sigmoid in binary16", _bent(lambda x: x * _half(_sigmoid(x)))),
    },
    "gelu": {
        "is-the-tanh-form": ("the form with the hyperbolic tangent", _bent(ops.gelu_tanh)),
        "is-quick": ("x times the sigmoid of 1.702 x", _bent(lambda x: x * _sigmoid(1.702 * x))),
    },
    "gelu_tanh": {
        "is-the-erf-form": ("the form with the error function", _bent(ops.gelu)),
        "is-quick": ("x times the sigmoid of 1.702 x", _bent(lambda x: x * _sigmoid(1.702 * x))),
    },
    "softmax": {
        "takes-nothing-off": ("the largest is not taken off first", _bent(_unshifted)),
        "in-binary16": ("exponentials in binary16", _bent(_coarse)),
        "of-base-two": ("powers of two in place of exponentials", _bent(_base_two)),
    },
    "rms_norm": {
        "subtracts-the-mean": ("the mean is taken off first", _normed(centred=True)),
        "epsilon-outside-the-root": ("epsilon is added to the root", _normed(outside=True)),
        "weight-plus-one": ("the weight is added to 1, as in Gemma", _normed(more=1)),
        "squares-in-binary16": ("squares in binary16", _normed(half=True)),
    },
}

MUTANTS: tuple[OperationMutant, ...] = (
    *(OperationMutant(f"quantize-{name}", "quantize", *one) for name, one in QUOTIENTS.items()),
    *(
        OperationMutant(f"function-{function}-{name}", "function", *one, {"function": function})
        for function, wrong in FUNCTIONS.items()
        for name, one in wrong.items()
    ),
)
"""Every mutant of this file."""
