"""Wrong AI Edge integers: other frameworks' knobs, other bit orders, one rounding too few."""

from dataclasses import replace

import numpy as np

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.float import encoded, flushed_float16, read_as, saturated_float16
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.layout import Signed, Unsigned
from refquant.schemes.aeq import mse, octav
from refquant.schemes.affine import Rule

__all__ = ["MUTANTS", "with_rule"]

INT8, ASYM8 = "aeq/int8[sym,channel]", "aeq/int8[asym,channel]"
INT4, INT4_BLOCK = "aeq/int4[sym,channel]", "aeq/int4[sym,block=32]"
INT2 = "aeq/int2[sym,channel]"
OCTAV8, OCTAV4 = "aeq/int8[sym,channel,algorithm=octav]", "aeq/int4[sym,block=32,algorithm=octav]"
OCTAV2 = "aeq/int2[sym,channel,algorithm=octav]"
MSE8 = "aeq/int8[sym,channel,algorithm=mse]"


def with_rule(name, **changed):
    """A scheme whose encoder is a point of int/affine, moved to another point."""

    def build():
        true = refquant.scheme(name)
        return replace(true, encode=Rule({**true.encode.__self__.knobs, **changed}).encode)

    return build


def with_scales(name, scales):
    """A scheme whose scales another algorithm chooses: f32[g, n] and its rule to f32[g]."""

    def build():
        plain = refquant.scheme(name.partition(",algorithm")[0] + "]")
        rule = plain.encode.__self__
        return replace(refquant.scheme(name), encode=lambda x: rule.encode_with(x, scales(x, rule)))

    return build


def each_alone(x, rule):
    """OCTAV in which every group stops by itself."""
    return np.concatenate([octav.scales(row[None], rule) for row in x])


def of_unsigned_codes(x, rule):
    """OCTAV with k = 4**-bits / 12, the constant of codes without a sign."""
    return octav.clips(x, int(rule["bits"]) + 1) / np.float32(rule.qmax)


def settled_clips(x, rule):
    """Newton's method to its end, a hundred iterations."""
    clip = np.ones(len(x), np.float32)
    for _ in range(100):
        clip = octav.next_clips(x, clip, int(rule["bits"]))
    largest = np.maximum(np.abs(x).max(axis=1), octav.LEAST_EXTENT)
    return np.minimum(largest, clip) / np.float32(rule.qmax)


def of_four_bits(x, rule):
    """MSE scales of 4 bits for 8."""
    return mse.scales(x, Rule({**rule.knobs, "bits": 4}))


MUTANTS = (
    Mutant("aeq-int8-divisor", INT8, "scale over 127.5", with_rule(INT8, divisor="half")),
    Mutant("aeq-int8-reciprocal", INT8, "weights times 1/scale", with_rule(INT8, by="reciprocal")),
    Mutant("aeq-int8-half-away", INT8, "ties away from zero", with_rule(INT8, round="half_away")),
    Mutant("aeq-int8-floor", INT8, "a scale of 0 becomes 1", with_rule(INT8, floor="one")),
    Mutant(
        "aeq-int8-zero-after",
        ASYM8,
        "zero point added after rounding",
        with_rule(ASYM8, zero="after"),
    ),
    Mutant(
        "aeq-int8-zero-rounded",
        ASYM8,
        "zero point from the rounded quotient",
        with_rule(ASYM8, zero_point="rounded", round="half_away"),
    ),
    Mutant(
        "aeq-int8-zero-ignored",
        ASYM8,
        "zero point left out",
        with_value(ASYM8, ("mul", "s", ("add", "q", ("mul", "z", 0.0)))),
    ),
    Mutant("aeq-int4-divisor", INT4, "scale over 7.5", with_rule(INT4, divisor="half")),
    Mutant("aeq-int4-swapped", INT4, "nibbles swapped", with_codes(INT4, Signed(4), "4", "0")),
    Mutant("aeq-int4-unsigned", INT4, "codes unsigned", with_codes(INT4, Unsigned(4), "2:4")),
    Mutant(
        "aeq-int4-scale-once",
        INT4_BLOCK,
        "block scale rounded to float16 alone",
        with_rule(INT4_BLOCK, scale="f16"),
    ),
    Mutant(
        "aeq-int4-scale-unrounded",
        INT4_BLOCK,
        "codes chosen by the scale before its storage",
        with_rule(INT4_BLOCK, using="unrounded"),
    ),
    Mutant(
        "aeq-int4-scale-saturated",
        INT4_BLOCK,
        "too large a block scale becomes the largest",
        with_rule(INT4_BLOCK, overflow="saturate"),
    ),
    Mutant("aeq-int2-divisor", INT2, "scale over 1.5", with_rule(INT2, divisor="half")),
    Mutant(
        "aeq-int2-high-first",
        INT2,
        "the first code in the highest bits",
        with_codes(INT2, Signed(2), "6", "4", "2", "0"),
    ),
    Mutant("aeq-int2-unsigned", INT2, "codes unsigned", with_codes(INT2, Unsigned(2), "4:2")),
    Mutant("aeq-int2-half-away", INT2, "ties away from zero", with_rule(INT2, round="half_away")),
    Mutant(
        "aeq-int8-octav-settled", OCTAV8, "iterated to the end", with_scales(OCTAV8, settled_clips)
    ),
    Mutant(
        "aeq-int8-mse-multiple", MSE8, "the multiple of 4 bits", with_scales(MSE8, of_four_bits)
    ),
    Mutant(
        "aeq-int4-octav-unsigned",
        OCTAV4,
        "4**-bits / 12, as for unsigned codes",
        with_scales(OCTAV4, of_unsigned_codes),
    ),
    Mutant(
        "aeq-int2-octav-alone",
        OCTAV2,
        "every group stops by itself",
        with_scales(OCTAV2, each_alone),
    ),
    Mutant(
        "aeq-fp16-saturated",
        "aeq/fp16",
        "overflow saturates at 65504",
        encoded("aeq/fp16", saturated_float16),
    ),
    Mutant(
        "aeq-fp16-flushed",
        "aeq/fp16",
        "subnormals are flushed to zero",
        encoded("aeq/fp16", flushed_float16),
    ),
    Mutant(
        "aeq-fp16-as-bf16",
        "aeq/fp16",
        "bytes read as bfloat16",
        read_as("aeq/fp16", refquant.scheme("bf16").layout.fields["w"].element),
    ),
)
