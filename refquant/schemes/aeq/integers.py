"""AI Edge integers: 8, 4 and 2 bits, per channel, per tensor or in blocks, and the float16 cast.

Symmetric scales are the largest magnitude over qmax; the range is never below 1e-9. At 8 bits the
code -128 is not used. Block scales are rounded to bfloat16 and then to float16, so a block of
zeros has scale 0, and one of huge weights an infinite scale: the origin does not guard either.
Asymmetric codes add the zero point before rounding. Where the origin chooses scales by another
algorithm than the extremes, the name says which.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from refquant.driver import Encoder, Scheme
from refquant.errors import UsageError
from refquant.schemes.aeq import mse, octav
from refquant.schemes.affine import Rule, affine_point
from refquant.schemes.floats import FLOAT16_SCHEME
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES", "SCHEMES"]

Values = Mapping[str, str | int]

SYMMETRY = Knob("symmetry", "0.0 is code 0, or a zero point", ("sym", "asym"), "sym", bare=True)
GRANULARITY = Knob(
    "granularity",
    "weights that share one scale",
    ("channel", "tensor", "block"),
    "channel",
    bare=True,
)
BLOCK = Knob("block", "weights of a block along the axis", ("32", "64", "128", "256"), "32")
ALGORITHM = Knob(
    "algorithm",
    "symmetric scales by the extremes; by a clip that OCTAV finds; by the root mean square (8 and "
    "4 bits, not in blocks)",
    ("minmax", "octav", "mse"),
    "minmax",
)


def _scheme(bits: int, values: Values) -> Scheme:
    symmetry, granularity = str(values["symmetry"]), str(values["granularity"])
    algorithm = str(values["algorithm"])
    blockwise = granularity == "block"
    share = f"block={values['block']}" if blockwise else granularity
    shown = f",algorithm={algorithm}" if algorithm != ALGORITHM.default else ""
    name = f"aeq/int{bits}[{symmetry},{share}{shown}]"
    _check(name, bits, values)
    found = affine_point(
        name,
        f"AI Edge {bits}-bit integers, {symmetry}metric, a scale per {granularity}",
        bits=bits,
        symmetry=symmetry,
        granularity="group" if blockwise else granularity,
        group=int(values["block"]),
        scale="bf16_f16" if blockwise else "f32",
        range="narrow" if bits == 8 else "full",
        floor="range",
        overflow="infinite",
        zero="before",
        zero_point="difference",
    )
    rule = Rule(found.parameters)
    found = replace(found, ragged=not blockwise, parameters=dict(values))
    if algorithm == ALGORITHM.default:
        return found
    return replace(found, encode=_encoder(algorithm, rule), whole=algorithm == "octav")


def _encoder(algorithm: str, rule: Rule) -> Encoder:
    """Codes by the scales of an algorithm."""
    scales = {"octav": octav.scales, "mse": mse.scales}[algorithm]
    return lambda x: rule.encode_with(x, scales(x, rule))


def _check(name: str, bits: int, values: Values) -> None:
    """Refuse what the origin refuses: its algorithms are symmetric, its MSE knows two widths."""
    if values["algorithm"] != "minmax" and values["symmetry"] != "sym":
        raise UsageError(f"scheme {name}: algorithm={values['algorithm']} is symmetric only")
    if values["algorithm"] == "mse" and (bits not in mse.MULTIPLES or "block=" in name):
        raise UsageError(f"scheme {name}: algorithm=mse has 8 or 4 bits and no blocks")


FAMILIES = tuple(
    Family(
        f"aeq/int{bits}",
        f"AI Edge {bits}-bit integers",
        (SYMMETRY, GRANULARITY, BLOCK, ALGORITHM),
        partial(_scheme, bits),
    )
    for bits in (8, 4, 2)
)

SCHEMES = (
    replace(FLOAT16_SCHEME, name="aeq/fp16", title="AI Edge float16 cast, infinite from 65520"),
)
