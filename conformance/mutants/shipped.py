"""Mistakes that somebody shipped and that no other table has; `registry/reports.toml` says who.

Decoders are wrong functions of a scheme's codes, encoders are wrong from the weights on.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants import OperationMutant
from conformance.mutants.rivals import Build, recoded
from conformance.mutants.schemes import Mutant
from refquant.conformance.operations import Arrays, Task
from refquant.driver import Scheme
from refquant.layout import field_codes
from refquant.numerics import round_half_away

__all__ = ["DECODERS", "MUTANTS"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]
Formula = Callable[[Codes], F32]


def _decoder(name: str, scheme: str, change: str, formula: Formula) -> OperationMutant:
    """A decoder by a formula of codes, each repeated for all weights that it is about."""

    def compute(task: Task) -> Arrays:
        tensor = task.tensor()
        layout, shape = tensor.layout, task.shape
        codes = {
            key: _spread(field_codes(layout, key, tensor.planes[one.plane], shape), shape)
            for key, one in layout.fields.items()
        }
        with np.errstate(all="ignore"):
            return {"values": formula(codes).astype(np.float32)}

    return OperationMutant(name, "decode", change, compute, only={"scheme": scheme})


def _spread(codes: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.integer]:
    for axis, size in enumerate(shape):
        codes = np.repeat(codes, -(-size // codes.shape[axis]), axis=axis)
    return codes[tuple(map(slice, shape))]


def _small_float(codes: NDArray[np.integer], bias: int, mantissa: int) -> NDArray[np.float64]:
    """A code of 8 bits with a sign as a number, whatever is special about it."""
    field = (codes.astype(np.int64) & 127) >> np.int64(mantissa)
    fraction = (codes & ((1 << mantissa) - 1)) / 2.0**mantissa
    whole = np.where(field > 0, np.ldexp(1 + fraction, field - bias), np.ldexp(fraction, 1 - bias))
    return np.asarray(np.where(codes & 128, -whole, whole))


def _all_normal(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """E4M3 as if every code had the leading 1."""
    field, fraction = (codes.astype(np.int64) & 127) >> np.int64(3), (codes & 7) / 8.0
    whole = np.ldexp(1 + fraction, field - 7)
    return np.asarray(np.where(codes & 128, -whole, whole))


def _powers(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """E8M0, 255 included."""
    return np.ldexp(1.0, codes.astype(np.int64) - 127)


def _nvfp4_with(scales: Callable[[NDArray[np.integer]], NDArray[np.float64]]) -> Formula:
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)

    def formula(codes: Codes) -> F32:
        whole = codes["g"].astype(np.uint32).view(np.float32)
        scale = scales(codes["s"]).astype(np.float32) * whole
        number = values[codes["q"] & 7] * np.where(codes["q"] & 8, -1, 1).astype(np.float32)
        return np.asarray(scale * number)

    return formula


def _wrapping(dtype: type[np.integer]) -> Formula:
    """The difference of code and zero point in a type of theirs."""

    def formula(codes: Codes) -> F32:
        difference = codes["q"].astype(dtype) - codes["z"].astype(dtype)
        scale = codes["s"].astype(np.uint32).view(np.float32)
        return np.asarray(difference.astype(np.float32) * scale)

    return formula


def _signed_scale(codes: Codes) -> F32:
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    number = values[codes["q"] & 7] * np.where(codes["q"] & 8, -1, 1).astype(np.float32)
    power = codes["s"].astype(np.uint8).view(np.int8).astype(np.int64) - 127
    return np.asarray(np.ldexp(number.astype(np.float64), power))


E4M3, E4M3FNUZ = "float/f8_e4m3fn[overflow=saturate]", "float/f8_e4m3fnuz[overflow=saturate]"
E5M2FNUZ = "float/f8_e5m2fnuz[overflow=saturate]"
E8M0 = "float/f8_e8m0[rounding=nearest]"
NVFP4 = "mx/nvfp4[convention=modelopt]"

DECODERS: tuple[OperationMutant, ...] = (
    _decoder(
        "shipped-f8-e4m3fn-480", E4M3, "NaN reads as 480", lambda c: _small_float(c["w"], 7, 3)
    ),
    _decoder(
        "shipped-f8-e4m3fn-all-normal",
        E4M3,
        "subnormals and zeros have a leading 1, and NaN reads as 480",
        lambda c: _all_normal(c["w"]),
    ),
    _decoder(
        "shipped-nvfp4-scale-all-normal",
        NVFP4,
        "subnormal scales have a leading 1",
        _nvfp4_with(
            lambda s: np.where(s & 127, np.where(s & 127 == 127, np.nan, _all_normal(s)), 0)
        ),
    ),
    _decoder(
        "shipped-f8-e4m3fnuz-minus-zero",
        E4M3FNUZ,
        "NaN reads as -0.0",
        lambda c: _small_float(c["w"], 8, 3),
    ),
    _decoder(
        "shipped-f8-e5m2fnuz-minus-zero",
        E5M2FNUZ,
        "NaN reads as -0.0",
        lambda c: _small_float(c["w"], 16, 2),
    ),
    _decoder(
        "shipped-f8-e5m2fnuz-ieee-bias",
        E5M2FNUZ,
        "the bias is 15, and NaN reads as -0.0",
        lambda c: _small_float(c["w"], 15, 2),
    ),
    _decoder(
        "shipped-f8-e8m0-zero",
        E8M0,
        "the code 0 reads as zero",
        lambda c: np.where(c["w"] == 255, np.nan, np.where(c["w"] > 0, _powers(c["w"]), 0)),
    ),
    _decoder(
        "shipped-f8-e8m0-infinite",
        E8M0,
        "the code 255 reads as infinity",
        lambda c: _powers(c["w"]),
    ),
    _decoder(
        "shipped-mxfp4-signed-scale",
        "mx/mxfp4[scale=floor]",
        "scale codes read as signed bytes",
        _signed_scale,
    ),
    _decoder(
        "shipped-onnx-uint8-wraps",
        "onnx/uint8[asym,block=16]",
        "code minus zero point wraps in 32 bits without a sign",
        _wrapping(np.uint32),
    ),
    _decoder(
        "shipped-onnx-int8-wraps",
        "onnx/int8[asym,block=16]",
        "code minus zero point wraps in 8 bits",
        _wrapping(np.int8),
    ),
)
"""Wrong decoders."""


def _half_away(name: str) -> Build:
    """ONNX codes with ties away from zero, zero points as they are."""

    def change(x: F32, codes: dict[str, NDArray[np.integer]]) -> dict[str, NDArray[np.integer]]:
        limits = np.iinfo(codes["q"].dtype)
        quotient = x / codes["s"].astype(np.uint32).view(np.float32)
        chosen = round_half_away(quotient) + codes["z"].astype(np.float32)
        return codes | {"q": np.clip(chosen, limits.min, limits.max).astype(codes["q"].dtype)}

    return recoded(name, change)


def _lower_exponents(by: int) -> Build:
    """Scale codes of compressed-tensors with another bias than the format's."""

    def build() -> Scheme:
        true = refquant.scheme("ct/mxfp4")
        encode = true.encode
        if encode is None:
            raise TypeError(true.name)

        def wrong(x: F32) -> Mapping[str, NDArray[np.integer]]:
            codes = dict(encode(x))
            return codes | {"s": np.clip(codes["s"].astype(np.int64) - by, 0, 254).astype(np.uint8)}

        return replace(true, encode=wrong)

    return build


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "shipped-onnx-int8-half-away",
        "onnx/int8[asym,block=16]",
        "ties away from zero",
        _half_away("onnx/int8[asym,block=16]"),
    ),
    Mutant(
        "shipped-onnx-dynamic-half-away",
        "onnx/dynamic_uint8",
        "ties away from zero",
        _half_away("onnx/dynamic_uint8"),
    ),
    Mutant(
        "shipped-q4_0-twos-complement",
        "ggml/q4_0",
        "stores codes in two's complement, not with 8 added",
        recoded("ggml/q4_0", lambda _, codes: codes | {"q": codes["q"] ^ 8}),
    ),
    Mutant(
        "shipped-ct-mxfp4-bias-125",
        "ct/mxfp4",
        "scale codes with a bias of 125",
        _lower_exponents(2),
    ),
)
"""Wrong encoders, and layouts."""
