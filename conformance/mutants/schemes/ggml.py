"""Wrong variants of ggml's oldest block formats: slips of layout and of rounding."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Encoder, Scheme
from refquant.layout import Expression, Field, Layout, Unsigned, field
from refquant.numerics import float16_bits, float32_from_float16
from refquant.schemes.floats import FLOAT16

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]
Build = Callable[[], Scheme]


def relaid(
    name: str, *, value: Expression | None = None, size: int = 0, **fields: Field | str
) -> Build:
    """The scheme with some fields elsewhere (or exchanged, by name), or another formula."""

    def build() -> Scheme:
        true = refquant.scheme(f"ggml/{name}")
        old = true.layout.fields
        new = {key: old[f] if isinstance(f, str) else f for key, f in fields.items()}
        layout = Layout(true.planes, {**old, **new}, value or true.layout.value, true.layout.tables)
        return replace(true, layout=layout)

    return build


def encoded(name: str, change: Callable[[F32, Encoder], Codes]) -> Build:
    """The scheme with an encoder made out of the true one."""

    def build() -> Scheme:
        true = refquant.scheme(f"ggml/{name}")
        encode = true.encode
        if encode is None:
            raise TypeError(name)
        return replace(true, encode=lambda x: change(x, encode))

    return build


def with_stored_scale(bias: float, top: int) -> Callable[[F32, Encoder], Codes]:
    """Codes chosen by division by the scale that is stored."""

    def change(x: F32, encode: Encoder) -> Codes:
        codes = dict(encode(x))
        scale = float32_from_float16(codes["d"])[:, None]
        low = float32_from_float16(codes["m"])[:, None] if "m" in codes else np.float32(0)
        quotient = np.divide(x - low, scale, out=np.zeros_like(x), where=scale != 0)
        chosen = np.floor(np.nan_to_num(quotient) + np.float32(bias))
        return {**codes, "q": np.clip(chosen, 0, top).astype(np.uint8)}

    return change


def nearest_even(middle: float, top: int) -> Callable[[F32, Encoder], Codes]:
    """Codes rounded to the nearest, ties to even, from the unrounded scale."""

    def change(x: F32, encode: Encoder) -> Codes:
        codes = dict(encode(x))
        extreme = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], 1)
        if "m" in codes:
            low = x.min(axis=1, keepdims=True)
            scale = (x.max(axis=1, keepdims=True) - low) / np.float32(top)
        else:
            low, scale = np.float32(0), extreme / np.float32(-middle or 1)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        chosen = np.rint(np.nan_to_num((x - low) * inverse)) + np.float32(middle)
        lowest = -128 if middle == 0 and "m" not in codes else 0
        chosen = np.clip(chosen, lowest, top)
        return {**codes, "q": chosen.astype(np.int8 if lowest else np.uint8)}

    return change


def rounded_even(x: F32, encode: Encoder) -> Codes:
    """Quotients by the largest magnitude rounded to the nearest, ties to even."""
    codes = dict(encode(x))
    top, middle = (127, 0) if codes["q"].dtype == np.int8 else (1, 1)
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(top)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    chosen = np.rint(np.nan_to_num(x * inverse)) + np.float32(middle)
    return {**codes, "q": np.clip(chosen, -top, 127).astype(codes["q"].dtype)}


def flipped(x: F32, encode: Encoder) -> Codes:
    """The last of equals instead of the first: blocks from back to front."""
    codes = dict(encode(x[:, ::-1].copy()))
    return {
        key: value[:, ::-1] if value.ndim == 2 and value.shape[1] > 1 else value
        for key, value in codes.items()
    }


def magnitude_scale(x: F32, encode: Encoder) -> Codes:
    """The scale never negative, codes mirrored to match."""
    codes = dict(encode(x))
    negative = (codes["d"] & np.uint16(0x8000)) > 0
    middle = 8 if codes["q"].max() < 16 else 16
    mirrored = np.clip(2 * middle - codes["q"].astype(np.int16), 0, 2 * middle - 1)
    turned = np.where(negative[:, None], mirrored, codes["q"]).astype(np.uint8)
    return {**codes, "d": codes["d"] & np.uint16(0x7FFF), "q": turned}


def without_zero_scale(x: F32, encode: Encoder) -> Codes:
    """A block of zeros gets scale 1."""
    codes = dict(encode(x))
    empty = ~x.any(axis=1)
    codes["d"] = np.where(empty, np.uint16(0x3C00), codes["d"]).astype(np.uint16)
    return codes


def largest_magnitude(x: F32, encode: Encoder) -> Codes:
    """The largest magnitude instead of the mean."""
    return {**encode(x), "d": float16_bits(np.abs(x).max(axis=1))}


def positive_bits(x: F32, encode: Encoder) -> Codes:
    """Zeros counted as negative."""
    return {**encode(x), "q": (x > 0).view(np.uint8)}


def sums_of_weights(x: F32, encode: Encoder) -> Codes:
    """The sum of the block's weights instead of that of its codes."""
    codes = dict(encode(x))
    return {**codes, "s": float16_bits(np.add.accumulate(x, axis=1)[:, -1])}


def upper_half(x: F32, encode: Encoder) -> Codes:
    """Sums of 32 codes instead of 16, the rest zero."""
    codes = dict(encode(x))
    sums = codes["s"].copy()
    sums[:, ::2] += sums[:, 1::2]
    sums[:, 1::2] = 0
    return {**codes, "s": sums}


def unsigned(name: str, count: int, base: int) -> Build:
    """8-bit codes read as unsigned."""
    return relaid(name, q=field("blocks", Unsigned(8), f"{count}:8+{base}"))


NIBBLES = "(16,2):(8,4)+{}"
PAIRS = "neighbours share a byte instead of halves of the block"
STORED = "codes are chosen with the scale after its rounding to float16"
EVEN = "ties go to the even code"
LAST = "of equal extremes the last one counts"


def mutant(name: str, suffix: str, change: str, build: Build) -> Mutant:
    scheme = name.replace("_", "")
    return Mutant(f"{scheme}-{suffix}", f"ggml/{name}", change, build)


MUTANTS = (
    mutant(
        "q1_0", "largest", "the largest magnitude for the mean", encoded("q1_0", largest_magnitude)
    ),
    mutant("q1_0", "zero", "zeros count as negative", encoded("q1_0", positive_bits)),
    mutant(
        "q1_0",
        "interleaved",
        "even weights before odd ones",
        relaid("q1_0", q=field("blocks", Unsigned(1), "(2,64):(1,2)+16")),
    ),
    mutant(
        "q2_0",
        "quarters",
        "bytes hold weights 16 apart",
        relaid("q2_0", q=field("blocks", Unsigned(2), "(4,16):(2,8)+16")),
    ),
    mutant("q2_0", "even", EVEN, encoded("q2_0", rounded_even)),
    mutant(
        "q2_0",
        "offset",
        "code 2 is zero",
        relaid("q2_0", value=("mul", "d", ("sub", "q", 2.0))),
    ),
    mutant(
        "q4_0",
        "pairs",
        PAIRS,
        relaid("q4_0", q=field("blocks", Unsigned(4), NIBBLES.format(16))),
    ),
    mutant(
        "q4_0",
        "swapped",
        "the high nibbles come first",
        relaid("q4_0", q=field("blocks", Unsigned(4), "16:8+20", "16:8+16")),
    ),
    mutant("q4_0", "stored-scale", STORED, encoded("q4_0", with_stored_scale(8.5, 15))),
    mutant("q4_0", "even", EVEN, encoded("q4_0", nearest_even(8, 15))),
    mutant("q4_0", "last", LAST, encoded("q4_0", flipped)),
    mutant("q4_0", "magnitude", "the scale is never negative", encoded("q4_0", magnitude_scale)),
    mutant(
        "q4_1",
        "skip",
        "the codes begin 2 bytes early, and the minimum follows them",
        relaid(
            "q4_1",
            q=field("blocks", Unsigned(4), "(2,16):(4,8)+16"),
            m=field("blocks", FLOAT16, "144", over=32),
        ),
    ),
    mutant(
        "q4_1",
        "pairs",
        PAIRS,
        relaid("q4_1", q=field("blocks", Unsigned(4), NIBBLES.format(32))),
    ),
    mutant(
        "q4_1",
        "subtracted",
        "the minimum is subtracted",
        relaid("q4_1", value=("sub", ("mul", "d", "q"), "m")),
    ),
    mutant("q4_1", "stored-scale", STORED, encoded("q4_1", with_stored_scale(0.5, 15))),
    mutant("q4_1", "even", EVEN, encoded("q4_1", nearest_even(0, 15))),
    mutant(
        "q5_0",
        "fifth",
        "the fifth bit of weight j + 16 is read from bit j",
        relaid(
            "q5_0",
            q=field("blocks", Unsigned(5), ((4, "(2,16):(4,8)+48"), (1, "(16,2):(1,16)+16"))),
        ),
    ),
    mutant(
        "q5_0",
        "offset",
        "15 stands for zero",
        relaid("q5_0", value=("mul", "d", ("sub", "q", 15.0))),
    ),
    mutant("q5_0", "stored-scale", STORED, encoded("q5_0", with_stored_scale(16.5, 31))),
    mutant("q5_0", "last", LAST, encoded("q5_0", flipped)),
    mutant(
        "q5_1",
        "high-first",
        "scale and minimum exchanged",
        relaid("q5_1", d="m", m="d"),
    ),
    mutant(
        "q5_1",
        "pairs",
        PAIRS,
        relaid("q5_1", q=field("blocks", Unsigned(5), ((4, NIBBLES.format(64)), (1, "32:1+32")))),
    ),
    mutant("q5_1", "stored-scale", STORED, encoded("q5_1", with_stored_scale(0.5, 31))),
    mutant("q5_1", "even", EVEN, encoded("q5_1", nearest_even(0, 31))),
    mutant("q8_0", "unsigned", "codes are read as unsigned", unsigned("q8_0", 32, 16)),
    mutant("q8_0", "even", "ties go to the even code, as in SIMD", encoded("q8_0", rounded_even)),
    mutant("q8_0", "scale-one", "zeros get scale 1", encoded("q8_0", without_zero_scale)),
    mutant("q8_1", "sum", "the sum of weights, not of codes", encoded("q8_1", sums_of_weights)),
    mutant("q8_1", "unsigned", "codes are read as unsigned", unsigned("q8_1", 32, 32)),
    mutant("q8_1", "even", EVEN, encoded("q8_1", rounded_even)),
    mutant("q8_k", "sums", "sums of 32 codes", encoded("q8_k", upper_half)),
    mutant("q8_k", "unsigned", "codes are read as unsigned", unsigned("q8_k", 256, 32)),
    mutant("q8_k", "last", LAST, encoded("q8_k", flipped)),
)
