"""Wrong products, wrong requantization, wrong rows of activations."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from conformance.mutants import OperationMutant
from refquant.arithmetic import FixedPoint
from refquant.conformance.operations import QUANTIZERS, REQUANTIZERS, Arrays, Task, perform

__all__ = ["MUTANTS"]

I64 = NDArray[np.int64]


def _product(function: Callable[[I64, I64], I64]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        a, b = (task.inputs[name].astype(np.int64) for name in "ab")
        return {"accumulators": function(a, b)}

    return compute


def pair_saturation(a: I64, b: I64) -> I64:
    """Sums of two neighbouring products held to 16 bits, as one x86 instruction does."""
    terms = a[:, None, :] * b[None, :, :]
    if terms.shape[-1] % 2:
        terms = np.concatenate([terms, np.zeros((*terms.shape[:2], 1), np.int64)], axis=-1)
    pairs = terms[..., 0::2] + terms[..., 1::2]
    return np.asarray(np.clip(pairs, -32768, 32767).sum(axis=-1))


def wrapped16(a: I64, b: I64) -> I64:
    """Accumulators of 16 bits that wrap."""
    return (a @ b.T).astype(np.int16).astype(np.int64)


def binary16(a: I64, b: I64) -> I64:
    """Accumulators in binary16."""
    total = np.zeros((len(a), len(b)), np.float16)
    for k in range(a.shape[1]):
        total = (total + np.float16(a[:, k, None] * b[None, :, k])).astype(np.float16)
    return np.nan_to_num(total.astype(np.float64), posinf=65504, neginf=-65504).astype(np.int64)


def without_tail(a: I64, b: I64) -> I64:
    """Terms behind the last whole vector of 16 left out."""
    whole = a.shape[1] // 16 * 16
    return np.asarray(a[:, :whole] @ b[:, :whole].T)


def least_negated(a: I64, b: I64) -> I64:
    """-(-128) taken as -128, as the sign trick of signed products does."""
    wrong = np.where(a == -128, -a, a)
    return np.asarray(wrong @ np.where(b == -128, 128, b).T)


PRODUCTS: dict[str, Callable[[I64, I64], I64]] = {
    "pair-saturation": pair_saturation,
    "wraps-at-16-bits": wrapped16,
    "accumulates-in-binary16": binary16,
    "drops-the-tail": without_tail,
    "sign-of-minus-128": least_negated,
    "left-is-signed": lambda a, b: a.astype(np.int8).astype(np.int64) @ b.T,
    "one-term-twice": lambda a, b: a @ b.T + a[:, :1] * b[:, 0],
    "operands-swapped": lambda a, b: (b @ a.T).reshape(len(a), len(b)),
}


def _requantizer(
    function: Callable[[I64, int, int], I64], *, before: bool = False
) -> Callable[[Task], Arrays]:
    """Requantization by a wrong product; `before`: saturated before the zero point is added."""

    def compute(task: Task) -> Arrays:
        x = task.inputs["accumulators"].astype(np.int64)
        by = int(task.inputs["multiplier"][0]), int(task.inputs["shift"][0])
        zero, low, high = (int(task.params[key]) for key in ("zero_point", "low", "high"))
        product = function(x, *by)
        if before:
            product = np.clip(product, low, high)
        return {"codes": np.clip(product + zero, low, high)}

    return compute


def _true(rounding: str) -> Callable[[I64, int, int], I64]:
    def product(x: I64, multiplier: int, shift: int) -> I64:
        by = FixedPoint(multiplier, shift)
        return REQUANTIZERS[rounding](x.astype(np.int32), by).astype(np.int64)

    return product


def floored(x: I64, multiplier: int, shift: int) -> I64:
    """Shifted without any rounding."""
    return np.asarray((x * multiplier) >> np.int64(31 - shift))


def floored_last(x: I64, multiplier: int, shift: int) -> I64:
    """The second step of two shifts without rounding."""
    high = ((x << np.int64(max(shift, 0))) * multiplier + (1 << 30)) >> np.int64(31)
    return np.asarray(high >> np.int64(max(-shift, 0)))


def toward_zero(x: I64, multiplier: int, shift: int) -> I64:
    """Divided as C divides."""
    exact = x * multiplier
    return np.asarray(np.sign(exact) * (np.abs(exact) >> np.int64(31 - shift)))


def logical(x: I64, multiplier: int, shift: int) -> I64:
    """A logical shift of the 32-bit high product."""
    high = ((x << np.int64(max(shift, 0))) * multiplier + (1 << 30)) >> np.int64(31)
    right = max(-shift, 0)
    return np.asarray((high & 0xFFFFFFFF) >> np.int64(right)) if right else high


def opposite_shift(x: I64, multiplier: int, shift: int) -> I64:
    """Shifts of another sign."""
    return (
        floored_last(x, multiplier, max(-shift, -31) if shift else 0)
        if shift > 0
        else floored(x, multiplier, min(-shift, 31))
    )


def in_binary32(x: I64, multiplier: int, shift: int) -> I64:
    """The product in binary32, ties to even."""
    scale = np.float32(multiplier) * np.float32(2.0) ** np.float32(shift - 31)
    return np.rint(x.astype(np.float32) * scale).astype(np.int64)


def _requantization() -> tuple[OperationMutant, ...]:
    wrong = {
        "floors": floored,
        "floors-the-last-shift": floored_last,
        "rounds-toward-zero": toward_zero,
        "shifts-logically": logical,
        "in-binary32": in_binary32,
    }
    found = []
    for rounding in REQUANTIZERS:
        only = {"rounding": rounding}
        variants = {name: _requantizer(function) for name, function in wrong.items()}
        variants |= {
            f"is-{other}": _requantizer(_true(other)) for other in REQUANTIZERS if other != rounding
        }
        variants["saturates-before-the-zero-point"] = _requantizer(_true(rounding), before=True)
        variants["no-zero-point"] = _without_zero(_true(rounding))
        variants["narrow-range"] = _narrow(_true(rounding))
        variants["wraps"] = _wraps(_true(rounding))
        found += [
            OperationMutant(
                f"requantize-{rounding}-{name}",
                "requantize",
                name.replace("-", " "),
                compute,
                only,
            )
            for name, compute in variants.items()
        ]
    return tuple(found)


def _without_zero(product: Callable[[I64, int, int], I64]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        changed = {**task.params, "zero_point": 0}
        return _requantizer(product)(Task(task.op, changed, task.inputs, task.outputs, task.find))

    return compute


def _narrow(product: Callable[[I64, int, int], I64]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        changed = {**task.params, "low": int(task.params["low"]) + 1}
        return _requantizer(product)(Task(task.op, changed, task.inputs, task.outputs, task.find))

    return compute


def _wraps(product: Callable[[I64, int, int], I64]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        changed = {**task.params, "low": -(1 << 40), "high": 1 << 40}
        return _requantizer(product)(Task(task.op, changed, task.inputs, task.outputs, task.find))

    return compute


Rows = dict[str, NDArray[np.generic]]


def _changed(change: Callable[[Task, Rows], None]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        found = {name: np.array(one) for name, one in perform(task).items()}
        change(task, found)
        return found

    return compute


def _zero_later(_: Task, found: Rows) -> None:
    found["zero_point"] = found["zero_point"] + 1  # type: ignore[operator]


def _narrowed(_: Task, found: Rows) -> None:
    found["codes"] = np.maximum(found["codes"], -126)


def _truncated(task: Task, found: Rows) -> None:
    ratio = task.inputs["x"] / found["scale"][:, None]  # type: ignore[operator]
    codes = np.trunc(np.nan_to_num(ratio)) + found["zero_point"][:, None]  # type: ignore[operator]
    found["codes"] = np.clip(codes, -128, 127)


def _first_scale(_: Task, found: Rows) -> None:
    found["scale"] = np.full_like(found["scale"], found["scale"][0])


def _half_scale(_: Task, found: Rows) -> None:
    found["scale"] = found["scale"].astype(np.float16).astype(np.float32)


ROWS: dict[str, Callable[[Task, Rows], None]] = {
    "zero-point-plus-one": _zero_later,
    "codes-not-below-minus-126": _narrowed,
    "truncates": _truncated,
    "scale-of-the-first-row": _first_scale,
    "scale-in-binary16": _half_scale,
}


def _row_mutants() -> tuple[OperationMutant, ...]:
    found = []
    for contract in QUANTIZERS:
        only = {"contract": contract}
        for name, change in ROWS.items():
            found.append(
                OperationMutant(
                    f"rows-{contract}-{name}",
                    "quantize_rows",
                    name.replace("-", " "),
                    _changed(change),
                    only,
                )
            )
        found += [_confused(contract, other, only) for other in QUANTIZERS if other != contract]
    return tuple(found)


def _confused(contract: str, other: str, only: dict[str, str]) -> OperationMutant:
    def compute(task: Task) -> Arrays:
        changed = {**task.params, "contract": other}
        return perform(Task(task.op, changed, task.inputs, task.outputs, task.find))

    name = f"rows-{contract}-is-{other}"
    return OperationMutant(name, "quantize_rows", f"the rule of {other}", compute, only)


MUTANTS: tuple[OperationMutant, ...] = (
    *(
        OperationMutant(
            f"product-{name}",
            "integer_matmul",
            name.replace("-", " "),
            _product(function),
        )
        for name, function in PRODUCTS.items()
    ),
    *_requantization(),
    *_row_mutants(),
)
"""Every mutant of this file."""
