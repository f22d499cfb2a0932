"""Encoders and decoders by other rules that are in use.

Each does what one implementation does where the scheme here follows another.

`registry/disagreements.toml` says who they are. They are wrong variants of a scheme only in that a
name stands for one rule; none of them is a mistake of its authors by being here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.gptq import PADDED
from conformance.mutants.wrong_layouts import with_value
from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Minifloat, Unsigned, field
from refquant.numerics import float16_bits, minifloat_bits, round_half_away
from refquant.schemes.small_floats import FLOAT8_E4M3FN, FLOAT8_E8M0, form_of

__all__ = ["MUTANTS", "Build", "Change", "Codes", "recoded", "rival"]

F32 = NDArray[np.float32]
Codes = dict[str, NDArray[np.integer]]
Change = Callable[[F32, Codes], Codes]
Build = Callable[[], Scheme]


def recoded(name: str, change: Change) -> Build:
    """A scheme whose codes are changed after the true encoder."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        encode = true.encode
        if encode is None:
            raise TypeError(name)
        return replace(true, encode=lambda x: change(x, dict(encode(x))))

    return build


def with_tables(name: str, **tables: F32) -> Build:
    """A scheme that looks values up elsewhere."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        old = true.layout
        return replace(
            true, layout=Layout(old.planes, old.fields, old.value, {**old.tables, **tables})
        )

    return build


def with_scales(name: str, scale: str, form: Minifloat, over: int, times: float) -> Build:
    """A block format whose scales are read as numbers of a form, which has a NaN."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        old = true.layout
        place = "0" if over == 32 else "4:8+0"
        fields = {**old.fields, scale: field("blocks", form, place, over=over)}
        value: Expression = ("mul", ("mul", scale, times), ("lut", "values", "q"))
        return replace(
            true, layout=Layout(old.planes, fields, value, {"values": old.tables["values"]})
        )

    return build


def positive_zero_scale(x: F32, codes: Codes) -> Codes:
    """gguf-py: a block of zeros has the scale +0, whatever their signs."""
    return codes | {"d": np.where(x.any(axis=1), codes["d"], np.uint16(0))}


def by_quotient_of_127(x: F32, codes: Codes) -> Codes:
    """x86: the inverse scale is 127 over the largest magnitude, and ties go to even."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    return codes | {"q": np.rint(np.nan_to_num(x * inverse)).astype(np.int8)}


def divided(x: F32, codes: Codes) -> Codes:
    """CUDA: weights over the scale, where others multiply by its reciprocal."""
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
    return codes | {"q": round_half_away(quotient).astype(np.int8)}


def indefinite(x: F32, codes: Codes) -> Codes:
    """SIMD: what no integer can hold becomes the least one, here -128."""
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    lost = (scale > 0) & np.isinf(np.float32(1) / np.maximum(scale, np.float32(1e-45)))
    return codes | {"q": np.where(lost & (x != 0), np.int8(-128), codes["q"])}


def saturated_scale(x: F32, codes: Codes) -> Codes:
    """A scale beyond binary16 becomes the largest number, not infinity."""
    del x
    magnitude = codes["d"] & np.uint16(0x7FFF)
    held = np.where(magnitude == 0x7C00, codes["d"] - np.uint16(1), codes["d"])
    return codes | {"d": held.astype(np.uint16)}


def stale_sums(x: F32, codes: Codes) -> Codes:
    """Sums of a block of zeros are not written: what was there stays."""
    return codes | {"s": np.where(x.any(axis=1)[:, None], codes["s"], np.int16(-21846))}


def stale_codes(x: F32, codes: Codes) -> Codes:
    """Codes of a block of zeros are not written: those of the block before stay."""
    before = np.concatenate([np.zeros_like(codes["q"][:1]), codes["q"][:-1]])
    return codes | {"q": np.where(x.any(axis=1)[:, None], codes["q"], before)}


def pairwise_mean(x: F32, codes: Codes) -> Codes:
    """The mean magnitude by a pairwise sum, as NumPy adds."""
    return codes | {"d": float16_bits(np.abs(x).sum(axis=1) / np.float32(x.shape[1]))}


def clamped(x: F32, codes: Codes) -> Codes:
    """gguf-py: codes are held below 32; elsewhere the fifth bit is cut off."""
    low = x.min(axis=1, keepdims=True)
    scale = (x.max(axis=1, keepdims=True) - low) / np.float32(31)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    chosen = np.trunc(np.nan_to_num((x - low) * inverse) + np.float32(0.5))
    return codes | {"q": np.clip(chosen, 0, 31).astype(np.uint8)}


def exponent_by(rule: Callable[[F32], F32]) -> Change:
    """MXFP4 in blocks by another exponent of the largest magnitude."""

    def change(x: F32, codes: Codes) -> Codes:
        largest = np.abs(x).max(axis=1)
        usable = (largest > 2.0**-120) & (largest < 2.0**120)
        exponent = rule(np.where(usable, largest, np.float32(1))).astype(np.int64)
        return codes | {"e": np.where(usable, exponent + 125, codes["e"]).astype(np.uint8)}

    return change


def floor_of_exact(largest: F32) -> F32:
    """The floor of the true logarithm."""
    return (np.frexp(largest)[1] - 1).astype(np.float32)


def nearest_logarithm(largest: F32) -> F32:
    """CUDA: the logarithm rounded to the nearest integer."""
    return np.rint(np.log2(largest.astype(np.float64))).astype(np.float32)


def scales_to_even(x: F32, codes: Codes) -> Codes:
    """Scales to the nearest E4M3, ties to even, up to 448, as other stacks store them."""
    largest = np.abs(x.reshape(len(x), -1, 16)).max(axis=2) / np.float32(6)
    bits = minifloat_bits(np.minimum(largest, np.float32(448)), form_of(FLOAT8_E4M3FN))
    return codes | {"s": bits.astype(np.uint8)}


def through_bfloat16(x: F32, codes: Codes) -> Codes:
    """Quotients rounded to bfloat16 before they are rounded to E2M1."""
    sixteen = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    scales = refquant.dequantize(refquant.QuantizedTensor(
        refquant.scheme("float/f8_e4m3fn[overflow=saturate]"),
        codes["s"].shape,
        {"values": codes["s"][..., None]},
    ))  # fmt: skip
    quotient = x.reshape(-1, 16) / (scales / codes["g"].view(np.float32)).reshape(-1, 1)
    bits = np.nan_to_num(quotient).astype(np.float32).view(np.uint32)
    halved = ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    magnitude = np.minimum(np.abs(halved), np.float32(6))
    distance = np.abs(magnitude[..., None] - sixteen)
    nearest = distance.argmin(axis=-1)
    tie = np.isclose(np.sort(distance, axis=-1)[..., 0], np.sort(distance, axis=-1)[..., 1])
    found = np.where(tie & (nearest % 2 == 1), nearest + 1, nearest)
    signed = np.where((halved < 0), found + 8, found).reshape(codes["q"].shape)
    return codes | {"q": np.where(x == 0, 0, signed).astype(np.uint8)}


def by_half_division(x: F32, codes: Codes) -> Codes:
    """Weights over the scale in binary16, as for tensors of binary16."""
    with np.errstate(all="ignore"):
        quotient = (x.astype(np.float16) / codes["s"].view(np.float32).astype(np.float16)).astype(
            "f4"
        )
    exact = np.rint(np.nan_to_num(quotient)) + codes["z"]
    return codes | {"q": np.clip(exact, -128, 127).astype(np.int8)}


def zeros_over_255(x: F32, codes: Codes) -> Codes:
    """The reference evaluator: a tensor of zeros has the scale 1 / 255."""
    if x.any():
        return codes
    return codes | {"s": np.full_like(codes["s"], np.float32(1 / 255).view(np.uint32))}


def other_overflow(name: str, rule: str) -> Build:
    """The encoder of the scheme's other setting for what is too large."""
    base = name.partition("[")[0]
    other = refquant.scheme(f"{base}[overflow={rule}]")
    return lambda: replace(refquant.scheme(name), encode=other.encode)


def whole_words(name: str) -> Build:
    """1 is added to a zero point within its four bits: 15 becomes 0."""
    wrapped = np.float32([*range(1, 16), 0])
    value: Expression = ("mul", "s", ("sub", "q", ("lut", "wrapped", "z")))

    def build() -> Scheme:
        true = refquant.scheme(name)
        old = true.layout
        return replace(true, layout=Layout(old.planes, old.fields, value, {"wrapped": wrapped}))

    return build


def padded() -> Scheme:
    """Ten codes a word, as versions up to the middle of 2026 packed three bits."""
    true = refquant.scheme("ct/pack3[asym,group=32]")
    fields = {**true.layout.fields, "q": field("packed", Unsigned(3), *PADDED)}
    return replace(true, layout=Layout(true.planes, fields, true.layout.value))


def tables_of(name: str, table: str, places: Mapping[int, float]) -> F32:
    """A table of a scheme with some entries changed."""
    found = np.array(refquant.scheme(name).layout.tables[table], np.float32)
    for place, value in places.items():
        found[place] = value
    return found


def rival(name: str, scheme: str, change: str, build: Callable[[], Scheme]) -> Mutant:
    """A rule of others as a mutant."""
    return Mutant(f"rival-{name}", scheme, change, build)


POWERS = replace(FLOAT8_E8M0, bias=128)
Q8, MX, NV = "ggml/q8_0", "ggml/mxfp4", "ggml/nvfp4"
SATURATING = "float/{}[overflow=saturate]"

MUTANTS: tuple[Mutant, ...] = (
    *(
        rival(
            f"{kind}-positive-zero",
            f"ggml/{kind}",
            "a block of zeros has the scale +0",
            recoded(f"ggml/{kind}", positive_zero_scale),
        )
        for kind in ("q4_0", "q5_0")
    ),
    rival("q8_0-127", Q8, "127 over the largest magnitude", recoded(Q8, by_quotient_of_127)),
    rival("q8_0-divided", Q8, "weights over the scale", recoded(Q8, divided)),
    rival("q8_0-indefinite", Q8, "codes -128 under tiny scales", recoded(Q8, indefinite)),
    *(
        rival(
            f"{kind}-saturated-scale",
            f"ggml/{kind}",
            "a scale beyond binary16 is the largest number",
            recoded(f"ggml/{kind}", saturated_scale),
        )
        for kind in ("q4_0", "q8_0")
    ),
    rival("q8_k-stale-sums", "ggml/q8_k", "sums of zeros stay", recoded("ggml/q8_k", stale_sums)),
    rival(
        "iq4_nl-stale-codes",
        "ggml/iq4_nl",
        "codes of zeros stay",
        recoded("ggml/iq4_nl", stale_codes),
    ),
    rival("q1_0-pairwise", "ggml/q1_0", "a pairwise sum", recoded("ggml/q1_0", pairwise_mean)),
    rival(
        "iq4_xs-positive-zeros",
        "ggml/iq4_xs",
        "zeros decode to +0",
        with_value(
            "ggml/iq4_xs",
            ("add", ("mul", ("mul", "d", ("sub", "sc", 32.0)), ("lut", "values", "q")), 0.0),
        ),
    ),
    rival("q5_1-clamped", "ggml/q5_1", "codes are held below 32", recoded("ggml/q5_1", clamped)),
    rival(
        "mxfp4-exact-floor",
        MX,
        "the floor of the true logarithm",
        recoded(MX, exponent_by(floor_of_exact)),
    ),
    rival("mxfp4-cuda", MX, "the nearest logarithm", recoded(MX, exponent_by(nearest_logarithm))),
    rival("mxfp4-nan-scale", MX, "the scale 255 is NaN", with_scales(MX, "e", POWERS, 32, 1.0)),
    rival("nvfp4-even-scale", NV, "scales to even, up to 448", recoded(NV, scales_to_even)),
    rival(
        "nvfp4-e4m3fn-scale",
        NV,
        "the scale 127 is NaN",
        with_scales(NV, "s", FLOAT8_E4M3FN, 16, 0.5),
    ),
    rival(
        "nvfp4-scale-480",
        NV,
        "the scale 127 is 480",
        with_tables(NV, scales=tables_of(NV, "scales", {127: 240.0})),
    ),
    rival(
        "f8-e4m3fn-nan",
        SATURATING.format("f8_e4m3fn"),
        "what is too large becomes NaN",
        other_overflow(SATURATING.format("f8_e4m3fn"), "nan"),
    ),
    rival(
        "f8-e5m2-infinite",
        SATURATING.format("f8_e5m2"),
        "what is too large becomes infinite",
        other_overflow(SATURATING.format("f8_e5m2"), "inf"),
    ),
    rival(
        "onnx-int8-half-division",
        "onnx/int8[asym,block=16]",
        "weights over the scale in binary16",
        recoded("onnx/int8[asym,block=16]", by_half_division),
    ),
    rival(
        "onnx-dynamic-zeros",
        "onnx/dynamic_uint8",
        "zeros have the scale 1 / 255",
        recoded("onnx/dynamic_uint8", zeros_over_255),
    ),
    rival(
        "ct-nvfp4-bfloat16",
        "ct/nvfp4",
        "quotients through bfloat16",
        recoded("ct/nvfp4", through_bfloat16),
    ),
    rival(
        "gptq-int4-wraps",
        "gptq/int4[v=1,asym,group=32]",
        "a stored zero point of 15 becomes 0",
        whole_words("gptq/int4[v=1,asym,group=32]"),
    ),
    rival("ct-pack3-padded", "ct/pack3[asym,group=32]", "ten codes a word", padded),
)
"""Every mutant of this file."""
