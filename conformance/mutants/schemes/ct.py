"""Wrong compressed-tensors members: other packings, divisors and floors."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Signed, Unsigned, field
from refquant.schemes.small_floats import FLOAT4_E2M1, FLOAT8_E5M2, FLOAT8_E8M0

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
NAMES = {bits: f"ct/pack{bits}[asym,group=32]" for bits in range(2, 9)}
INT8, FP8 = "ct/int8[asym,channel]", "ct/fp8[channel]"
ZERO_IGNORED = ("mul", "s", ("add", "q", ("mul", "z", 0.0)))


def high_first(name: str, bits: int) -> Scheme:
    """The first code of a record in its highest bits."""
    total = 8 * refquant.scheme(name).planes["packed"].bytes
    places = [str(total - bits * (k + 1)) for k in range(total // bits)]
    return with_codes(name, Unsigned(bits), *places, plane="packed")()


def encoded_after(name: str) -> Scheme:
    """The scheme with codes that get the zero point after rounding."""
    true = refquant.scheme(name)

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(true.encode(x))
        z = found["z"].astype(np.int16)
        unsigned = found["z"].dtype == np.uint8
        scale = found["s"].view(np.float32)
        bits = true.layout.fields["q"].element.bits
        low, high = (
            (0, (1 << bits) - 1) if unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        )
        codes = np.clip(np.nan_to_num(np.rint(x / scale)) + z, low, high)
        return found | {"q": codes.astype(found["z"].dtype)}

    return replace(true, encode=encode)


def encoded_fp8(divisor: float, least: float) -> Scheme:
    """E4M3 under another divisor and floor of the scale."""
    true = refquant.scheme(FP8)

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        scale = np.maximum(np.abs(x).max(axis=1) / np.float32(divisor), np.float32(least))
        scaled = np.clip(x / scale[:, None], -448, 448).astype(np.float32)
        codes = refquant.quantize(scaled, "float/f8_e4m3fn").planes["values"][..., 0]
        return {"s": scale.view(np.uint32)[:, None], "q": codes}

    return replace(true, encode=encode)


FP4 = {"nvfp4": "ct/nvfp4", "mxfp4": "ct/mxfp4"}


def scaled(value: Expression) -> Scheme:
    """NVFP4 under another formula."""
    true = refquant.scheme(FP4["nvfp4"])
    return replace(true, layout=replace(true.layout, value=value))


def by_modelopt() -> Scheme:
    """ModelOpt's scales, and a divisor to go with them."""
    other = refquant.scheme("mx/nvfp4[convention=modelopt]").encode

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(other(x)) if other else {}
        return found | {"g": (np.float32(1) / found["g"].view(np.float32)).view(np.uint32)}

    return replace(refquant.scheme(FP4["nvfp4"]), encode=encode)


def mxfp4_by(rule: str) -> Scheme:
    """MXFP4 with the scales of another rule."""
    other = refquant.scheme(f"mx/mxfp4[scale={rule}]")
    return replace(refquant.scheme(FP4["mxfp4"]), encode=other.encode)


def biased() -> Scheme:
    """Scales read with another bias."""
    true = refquant.scheme(FP4["mxfp4"])
    scales = field("scales", replace(FLOAT8_E8M0, bias=128), "0", over=32)
    fields = {**true.layout.fields, "s": scales}
    return replace(true, layout=Layout(true.planes, fields, true.layout.value))


MUTANTS = (
    *(
        Mutant(
            f"ct-pack{bits}-high-first",
            name,
            "the first code in the highest bits",
            partial(high_first, name, bits),
        )
        for bits, name in NAMES.items()
    ),
    *(
        Mutant(
            f"ct-pack{bits}-zero-ignored",
            name,
            "the zero point is left out",
            with_value(name, ZERO_IGNORED),
        )
        for bits, name in NAMES.items()
    ),
    *(
        Mutant(
            f"ct-pack{bits}-zero-after",
            name,
            "the zero point is added after rounding",
            partial(encoded_after, name),
        )
        for bits, name in NAMES.items()
    ),
    Mutant(
        "ct-int8-unsigned",
        INT8,
        "codes read as unsigned",
        with_codes(INT8, Unsigned(8), "0"),
    ),
    Mutant(
        "ct-int8-zero-after",
        INT8,
        "the zero point is added after rounding",
        partial(encoded_after, INT8),
    ),
    Mutant(
        "ct-int8-zero-ignored",
        INT8,
        "the zero point is left out",
        with_value(INT8, ZERO_IGNORED),
    ),
    Mutant(
        "ct-fp8-e5m2",
        FP8,
        "codes read as E5M2",
        with_codes(FP8, FLOAT8_E5M2, "0"),
    ),
    Mutant(
        "ct-fp8-signed",
        FP8,
        "codes read as integers",
        with_codes(FP8, Signed(8), "0"),
    ),
    Mutant("ct-fp8-240", FP8, "scale over 240", partial(encoded_fp8, 240.0, 2.0**-23)),
    Mutant(
        "ct-fp8-floor",
        FP8,
        "scales are at least 2**-126",
        partial(encoded_fp8, 448.0, 2.0**-126),
    ),
    Mutant(
        "ct-nvfp4-multiplier",
        FP4["nvfp4"],
        "the number of the tensor is multiplied by",
        partial(scaled, ("mul", ("mul", "s", "g"), "q")),
    ),
    Mutant(
        "ct-nvfp4-reciprocal",
        FP4["nvfp4"],
        "scales are multiplied by the rounded reciprocal of the divisor",
        partial(scaled, ("mul", ("mul", "s", ("div", 1.0, "g")), "q")),
    ),
    Mutant("ct-nvfp4-modelopt", FP4["nvfp4"], "ModelOpt's divisor and scales", by_modelopt),
    *(
        Mutant(
            f"ct-{short}-swapped",
            name,
            "first weight in the high half of a byte",
            with_codes(name, FLOAT4_E2M1, "4", "0", plane="packed"),
        )
        for short, name in FP4.items()
    ),
    Mutant(
        "ct-mxfp4-floor",
        FP4["mxfp4"],
        "scales by the floor of the logarithm",
        partial(mxfp4_by, "floor"),
    ),
    Mutant(
        "ct-mxfp4-ceil",
        FP4["mxfp4"],
        "scales rounded up",
        partial(mxfp4_by, "ceil"),
    ),
    Mutant("ct-mxfp4-bias", FP4["mxfp4"], "scales with a bias of 128", biased),
)
