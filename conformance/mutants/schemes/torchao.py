"""Wrong torchao codes: division, the other era's eps, nibbles swapped, offsets taken as codes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.aeq import with_rule
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.driver import Scheme
from refquant.layout import Signed, Unsigned, field
from refquant.numerics import float16_bits
from refquant.schemes.torchao import hqq, scale_only, uintx
from refquant.schemes.torchao.tinygemm import Rule

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
TINYGEMM = "torchao/int4_tinygemm[group=32]"
TINYGEMM_F32 = "torchao/int4_tinygemm[group=32,scale=f32]"


def integers(base: str, bits: int) -> Iterator[Mutant]:
    """The mistakes that every width shares."""
    sym, asym = f"{base}[sym,group=32]", f"{base}[asym,group=32]"
    key = base.replace("/", "-")
    yield Mutant(f"{key}-eps", sym, "scales from 2**-23", with_rule(sym, floor="eps"))
    yield Mutant(
        f"{key}-half-away", asym, "ties away from zero", with_rule(asym, round="half_away")
    )
    yield Mutant(
        f"{key}-zero-ignored",
        asym,
        "zero point left out",
        with_value(asym, ("mul", "s", ("add", "q", ("mul", "z", 0.0)))),
    )
    if bits == 1:
        yield Mutant(f"{key}-offset", sym, "stored 0 and 1 as codes", with_value(sym, _plain()))
        return
    yield Mutant(f"{key}-divide", asym, "weights over scale", with_rule(asym, by="divide"))
    yield Mutant(
        f"{key}-divisor", sym, "scale over the largest code", with_rule(sym, divisor="qmax")
    )
    yield Mutant(
        f"{key}-clipped", sym, "scale by the sides' own steps", with_rule(sym, divisor="sides")
    )
    if bits in (2, 4, 8):
        places = [str(place) for place in range(0, 8, bits)]
        yield Mutant(
            f"{key}-unsigned", sym, "codes unsigned", with_codes(sym, Unsigned(bits), *places)
        )
    if bits in (2, 4):
        yield Mutant(
            f"{key}-high-first",
            sym,
            "the first code in the highest bits",
            with_codes(sym, Signed(bits), *reversed(places)),
        )


def _plain():
    return ("mul", "s", "q")


def with_zero_in_range(x):
    """Tinygemm codes over a range that is made to hold 0.0."""
    rule = Rule(refquant.scheme(TINYGEMM).encode.__self__.knobs)
    codes = rule.encode(np.concatenate([x, np.zeros_like(x[:, :1])], axis=1))
    return {**codes, "q": codes["q"][:, :-1]}


def with_float32_parameters(x):
    """Codes chosen before scale and offset are rounded to bfloat16."""
    rounded = refquant.scheme(TINYGEMM).encode(x)
    exact = refquant.scheme(TINYGEMM_F32).encode(x)
    return {**rounded, "q": exact["q"]}


def high_nibble_first():
    """CUDA's order before its own packing, the even column in the high nibble."""
    true = refquant.scheme(TINYGEMM)
    fields = {**true.layout.fields, "q": field("codes", Unsigned(4), "4", "0")}
    return replace(true, layout=replace(true.layout, fields=fields))


MUTANTS = (
    *(m for bits in range(1, 9) for m in integers(f"torchao/int{bits}", bits)),
    *integers("torchao/8da4w", 4),
    Mutant(
        "tinygemm-integer-zero",
        TINYGEMM,
        "the offset taken as an integer zero point",
        with_value(TINYGEMM, ("mul", "s", ("sub", "q", "z"))),
    ),
    Mutant(
        "tinygemm-offset-at-zero",
        TINYGEMM,
        "the offset belongs to code 0",
        with_value(TINYGEMM, ("add", ("mul", "s", "q"), "z")),
    ),
    Mutant("tinygemm-high-first", TINYGEMM, "the even column high", high_nibble_first),
    Mutant(
        "tinygemm-extent",
        TINYGEMM,
        "the range must hold 0.0",
        lambda: replace(refquant.scheme(TINYGEMM), encode=with_zero_in_range),
    ),
    Mutant(
        "tinygemm-unrounded",
        TINYGEMM,
        "codes chosen before the parameters are rounded",
        lambda: replace(refquant.scheme(TINYGEMM), encode=with_float32_parameters),
    ),
)

HQQ = "torchao/hqq[bits=4,group=64]"


def with_solver(**changes: float) -> Callable[[], Scheme]:
    """Another solver, under the true parameters' names."""

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        inverse, zero = hqq.start_of(x, 4)
        solver = replace(hqq.solver_of(4, 20), **changes)
        zero = solver.zero_points(x, inverse, zero)
        scale = np.float32(1) / inverse
        offset = (np.float32(8) - zero) * scale
        return {
            "s": float16_bits(scale)[:, None],
            "z": float16_bits(offset)[:, None],
            "q": solver.codes(x, inverse, zero).astype(np.uint8),
        }

    return lambda: replace(refquant.scheme(HQQ), encode=encode)


MUTANTS = (
    *MUTANTS,
    Mutant("torchao-hqq-strength", HQQ, "beta is 12", with_solver(beta=12.0)),
    Mutant("torchao-hqq-norm", HQQ, "the norm of 0.5", with_solver(norm=0.5)),
    Mutant("torchao-hqq-rounds", HQQ, "one round", with_solver(iterations=1)),
    Mutant(
        "torchao-hqq-middle",
        HQQ,
        "the offset belongs to code 0",
        with_value(HQQ, ("add", ("mul", "s", "q"), "z")),
    ),
)

AFPWX = "torchao/afpwx[bits=4,group=32]"
AFPWX_HALF = "torchao/afpwx[bits=4,group=32,scale=f16]"
SCALE_ONLY = "torchao/hqq_scale_only[bits=4,group=32]"


def ranged(name: str, change: str) -> Callable[[], Scheme]:
    """Unsigned groups by other orders of rounding."""
    rule = uintx.Rule(refquant.scheme(name).parameters)

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        x = rule.rounded(x)
        low, high = x.min(axis=1), x.max(axis=1)
        if change == "zero in range":
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        wide = change == "binary32"
        narrow = (lambda v: v) if wide else rule.rounded
        scale = narrow(narrow(high - low) / np.float32(15))
        zero = np.float32(0) - np.rint(narrow(low / scale))
        inverse = narrow(np.float32(1) / scale)
        product = narrow(x * inverse[:, None]) if change != "divide" else x / scale[:, None]
        codes = np.rint(product) + zero[:, None]
        if change != "rounded first":
            codes = np.rint(narrow(product + zero[:, None]))
        offset = -low if change == "minimum" else rule.rounded(zero * scale)
        held = np.clip(np.nan_to_num(codes, nan=0, posinf=15, neginf=0), 0, 15)
        return {
            "s": rule.bits(scale)[:, None],
            "z": rule.bits(-offset)[:, None],
            "q": held.astype(np.uint8),
        }

    return lambda: replace(refquant.scheme(name), encode=encode)


def fitted(change: str) -> Callable[[], Scheme]:
    """Fitted scales with another start, another last step or another set of codes."""
    knobs = refquant.scheme(SCALE_ONLY).parameters

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        if change == "one round":
            return scale_only.encode(x, {**knobs, "iters": 1})
        scale = scale_only.fitted_scales(x, 4, 20)
        if change == "no fit":
            scale = np.maximum(np.abs(x).max(axis=1) / np.float32(8), scale_only.LEAST)
        codes = scale_only.scaled_codes(x, scale, 4)
        if change == "narrow":
            codes = np.maximum(codes, np.float32(-7))
        return {"s": scale.view(np.uint32)[:, None], "q": codes.astype(np.int8)}

    return lambda: replace(refquant.scheme(SCALE_ONLY), encode=encode)


MUTANTS = (
    *MUTANTS,
    Mutant("afpwx-divide", AFPWX, "weights over scale", ranged(AFPWX, "divide")),
    Mutant("afpwx-extent", AFPWX, "the range must hold 0.0", ranged(AFPWX, "zero in range")),
    Mutant(
        "afpwx-rounded-first",
        AFPWX,
        "the zero point added after rounding",
        ranged(AFPWX, "rounded first"),
    ),
    Mutant("afpwx-minimum", AFPWX, "the least weight as the offset", ranged(AFPWX, "minimum")),
    Mutant("afpwx-wide", AFPWX_HALF, "float16 weights in binary32", ranged(AFPWX_HALF, "binary32")),
    Mutant(
        "afpwx-zero-point",
        AFPWX,
        "the offset taken as a zero point",
        with_value(AFPWX, ("mul", "s", ("sub", "q", "z"))),
    ),
    Mutant(
        "afpwx-middle",
        AFPWX,
        "the offset belongs to code 8",
        with_value(AFPWX, ("add", ("mul", ("sub", "q", 8.0), "s"), "z")),
    ),
    Mutant("hqq-scale-only-once", SCALE_ONLY, "one round", fitted("one round")),
    Mutant("hqq-scale-only-first", SCALE_ONLY, "the scale not fitted", fitted("no fit")),
    Mutant("hqq-scale-only-narrow", SCALE_ONLY, "codes from -7", fitted("narrow")),
    Mutant(
        "hqq-scale-only-unsigned",
        SCALE_ONLY,
        "codes unsigned",
        with_codes(SCALE_ONLY, Unsigned(4), "0", "4"),
    ),
)
