"""Integer layers that do one thing else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from conformance.mutants import OperationMutant
from refquant.arithmetic.static import (
    STATIC,
    Rounding,
    StaticLayer,
    static_bias,
    static_codes,
    static_layer,
    static_sums,
    static_values,
)
from refquant.conformance.operations import Arrays, Task, perform
from refquant.conformance.static_layers import layer_of

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Compute = Callable[[Task], Arrays]


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a layer, each replaceable by a wrong one; `accumulated` has the exact sums."""

    encode: Callable[[StaticLayer, F32], NDArray[np.integer]] | None = None
    zero: Callable[[int], int] = lambda zero: zero
    step_of_bias: Callable[[StaticLayer], float] = lambda layer: layer.parameters.input_scale
    accumulated: Callable[[I64], I64] = lambda sums: sums
    round_as: str = ""
    finish: Callable[[StaticLayer, I64], NDArray[np.integer]] | None = None
    apart: bool | None = None

    def __call__(self, task: Task) -> Arrays:
        """The outputs of a layer of these steps."""
        layer = layer_of(task)
        inputs = (self.encode or _encoded)(layer, task.inputs["x"])
        sums = self._sums(task, layer, inputs)
        bias, kernel = task.inputs.get("bias"), STATIC[self.round_as or layer.contract]
        rounding = kernel.without_bias if bias is None else kernel.rounding
        codes = self.finish(layer, sums) if self.finish else self._rounded(layer, rounding, sums)
        return {"inputs": inputs, "codes": codes, "y": self._values(layer, codes)}

    def _sums(self, task: Task, layer: StaticLayer, inputs: NDArray[np.integer]) -> I64:
        zero, bias = self.zero(layer.parameters.input_zero_point), task.inputs.get("bias")
        sums = static_sums(inputs, zero, layer.weights, layer.totals)
        if bias is not None:
            sums += static_bias(bias, layer.scale, self.step_of_bias(layer))
        return self.accumulated(sums)

    def _rounded(self, layer: StaticLayer, rounding: Rounding, sums: I64) -> NDArray[np.integer]:
        name = self.round_as or layer.contract
        other = static_layer(name, layer.parameters, layer.weights, layer.scale)
        return other.requantize[rounding](sums)

    def _values(self, layer: StaticLayer, codes: NDArray[np.integer]) -> F32:
        known, contract = layer.parameters, layer.contract
        if self.apart is not None:
            contract = "int8_static_optimized" if self.apart else "int8_static"
        return static_values(contract, codes, known.output_scale, known.output_zero_point)


def _encoded(layer: StaticLayer, x: F32) -> NDArray[np.integer]:
    known = layer.parameters
    return static_codes(layer.contract, x, known.input_scale, known.input_zero_point)


def _encoded_as(rounded: Callable[[F32], F32]) -> Callable[[StaticLayer, F32], NDArray[np.integer]]:
    def encode(layer: StaticLayer, x: F32) -> NDArray[np.integer]:
        known, limits = layer.parameters, STATIC[layer.contract].limits
        codes = rounded(x / np.float32(known.input_scale)) + np.float32(known.input_zero_point)
        return np.asarray(np.clip(codes, limits.min, limits.max).astype(limits.dtype))

    return encode


def _by_shares(sums: I64, layer: StaticLayer) -> NDArray[np.float64]:
    known = layer.parameters
    return np.asarray(
        sums * (known.input_scale * layer.scale.astype(np.float64) / known.output_scale)
    )


def _finished(rounded: Callable[[NDArray[np.float64]], NDArray[np.float64]], saturate: str) -> (
    Callable[[StaticLayer, I64], NDArray[np.integer]]
):  # fmt: skip
    """Codes by another rounding; `saturate` is "last" or "first", or "never", where they wrap."""

    def finish(layer: StaticLayer, sums: I64) -> NDArray[np.integer]:
        limits, zero = STATIC[layer.contract].limits, layer.parameters.output_zero_point
        codes = rounded(_by_shares(sums, layer))
        if saturate == "first":
            codes = np.clip(codes, limits.min, limits.max)
        codes = codes.astype(np.int64) + zero
        if saturate != "never":
            codes = np.clip(codes, limits.min, limits.max)
        return np.asarray(codes.astype(limits.dtype))

    return finish


def _half_away(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.copysign(np.floor(np.abs(x) + 0.5), x))


def _one_scale(task: Task) -> Arrays:
    scale = np.full_like(task.inputs["scale"], task.inputs["scale"].max())
    return perform(replace(task, inputs={**task.inputs, "scale": scale}))


def _without_bias(task: Task) -> Arrays:
    return perform(
        replace(task, inputs={key: one for key, one in task.inputs.items() if key != "bias"})
    )


def _narrow(task: Task) -> Arrays:
    found = perform(task)
    limits = STATIC[task.params["contract"]].limits
    return {**found, "codes": np.maximum(found["codes"], limits.min + 1)}


WRONG: dict[str, tuple[str, Compute]] = {
    "no-bias": ("leaves the bias out", _without_bias),
    "one-scale": ("one scale for all channels", _one_scale),
    "bias-of-the-output": (
        "a bias in steps of the output",
        Steps(step_of_bias=lambda layer: layer.parameters.output_scale),
    ),
    "rounds-down": (
        "sums become codes by rounding down",
        Steps(finish=_finished(np.floor, "last")),
    ),
    "rounds-toward-zero": ("sums are cut to codes", Steps(finish=_finished(np.trunc, "last"))),
    "wraps": (
        "codes wrap where they should saturate",
        Steps(finish=_finished(_half_away, "never")),
    ),
    "input-down": ("inputs become codes by rounding down", Steps(encode=_encoded_as(np.floor))),
    "input-toward-zero": ("inputs are cut to codes", Steps(encode=_encoded_as(np.trunc))),
    "narrow-output": ("the least code of the output is not used", _narrow),
}
"""Mistakes of any width: what is wrong, and the layer that does it."""

WRONG8: dict[str, tuple[str, Compute]] = {
    "zero-point-sign": ("the input's zero point is added", Steps(zero=lambda zero: -zero)),
    "no-zero-point": ("the input's zero point is left out of the sum", Steps(zero=lambda _: 0)),
    "zero-point-off-by-one": ("a zero point one too large", Steps(zero=lambda zero: zero + 1)),
    "saturates-before-the-zero-point": (
        "saturates before the output's zero point is added",
        Steps(finish=_finished(_half_away, "first")),
    ),
    "accumulates-in-16-bits": (
        "sums of 16 bits that wrap",
        Steps(accumulated=lambda sums: sums.astype(np.int16).astype(np.int64)),
    ),
}
"""Mistakes about what only codes of 8 bits have."""

WRONG16: dict[str, tuple[str, Compute]] = {
    "rounds-to-even": ("ties of sums go to even", Steps(finish=_finished(np.rint, "last"))),
    "accumulates-in-32-bits": (
        "sums of 32 bits that wrap",
        Steps(accumulated=lambda sums: sums.astype(np.int32).astype(np.int64)),
    ),
}
"""And about those of 16."""


def _named(contract: str, wrong: dict[str, tuple[str, Compute]]) -> Iterable[OperationMutant]:
    for name, (change, compute) in wrong.items():
        yield OperationMutant(
            f"layer-{contract}-{name}", "layer", change, compute, {"contract": contract}
        )


def _rounded_as_others() -> Iterable[OperationMutant]:
    """Every contract with the sums of another one of its width, and with its numbers."""
    for contract, kernel in STATIC.items():
        others = {other: one for other, one in STATIC.items() if one.bits == kernel.bits}
        wrong: dict[str, tuple[str, Compute]] = {
            f"sums-as-{other}": (f"sums become codes as in {other}", Steps(round_as=other))
            for other, one in others.items()
            if (one.rounding, one.without_bias) != (kernel.rounding, kernel.without_bias)
        }
        turned = not kernel.by_reciprocal
        wrong["other-inputs"] = (
            "inputs by a product with the reciprocal" if turned else "inputs by a division",
            Steps(encode=_encoded_by(reciprocal=turned)),
        )
        if kernel.bits == 8:
            wrong["other-numbers"] = (
                "codes become numbers in one product" if kernel.apart else "in two products",
                Steps(apart=not kernel.apart),
            )
        yield from _named(contract, wrong)


def _encoded_by(*, reciprocal: bool) -> Callable[[StaticLayer, F32], NDArray[np.integer]]:
    def encode(layer: StaticLayer, x: F32) -> NDArray[np.integer]:
        bits, known = STATIC[layer.contract].bits, layer.parameters
        contract = f"int{bits}_static_optimized" if reciprocal else f"int{bits}_static"
        return static_codes(contract, x, known.input_scale, known.input_zero_point)

    return encode


MUTANTS: tuple[OperationMutant, ...] = (
    *_named("int8_static", WRONG | WRONG8),
    *_named("int16_static", WRONG | WRONG16),
    *_rounded_as_others(),
)
"""Every mutant of this file."""
