"""torchao's affine integers of 1 to 8 bits: three mappings, rows or groups, two eras of eps.

Weights are multiplied by the reciprocal of the scale, rounded, and the zero point is added after
rounding. The symmetric scale divides by half the number of steps (7.5, 127.5), so the largest
magnitude lies on a tie. Scales are at least the smallest normal number since 0.18, and at least
2**-23 before. `torchao/8da4w` holds the weights of Int8DynActInt4WeightQuantizer: they are the
symmetric 4-bit groups, and only the activations that meet them are dynamic.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from refquant.driver import Scheme
from refquant.schemes.affine import affine_point
from refquant.schemes.names import Family, Knob

__all__ = ["EPS", "FAMILIES"]

Values = Mapping[str, str | int]

MAPPING = Knob(
    "mapping",
    "symmetric; symmetric without clipping error; asymmetric",
    ("sym", "no_clip", "asym"),
    "sym",
    bare=True,
)
GRANULARITY = Knob(
    "granularity", "weights that share one scale", ("channel", "group"), "channel", bare=True
)
GROUP = Knob("group", "weights of a group along the axis", range(2, 65537), 32)
SCALE = Knob(
    "scale", "storage of the scale, by which codes are chosen", ("f32", "f16", "bf16"), "f32"
)
EPS = Knob("eps", "least scale: 2**-126 (0.18 and later) or 2**-23", ("tiny", "eps"), "tiny")


def _scheme(bits: int, base: str, values: Values) -> Scheme:
    mapping, granularity = str(values["mapping"]), str(values["granularity"])
    share = f"group={values['group']}" if granularity == "group" else granularity
    shown = [mapping, share]
    shown += [f"{k.name}={values[k.name]}" for k in (SCALE, EPS) if values[k.name] != k.default]
    found = affine_point(
        f"{base}[{','.join(shown)}]",
        f"torchao {bits}-bit integers, {MAPPING_TITLES[mapping]}, a scale per {granularity}",
        bits=bits,
        symmetry="asym" if mapping == "asym" else "sym",
        granularity=granularity,
        group=int(values["group"]),
        scale=str(values["scale"]),
        divisor="sides" if mapping == "no_clip" else "half",
        range="full",
        by="reciprocal",
        floor=str(values["eps"]),
        overflow="infinite",
        zero_using="unrounded",
    )
    return replace(found, ragged=False, parameters=dict(values))


MAPPING_TITLES = {
    "sym": "symmetric",
    "no_clip": "symmetric without clipping error",
    "asym": "asymmetric",
}

FAMILIES = (
    *(
        Family(
            f"torchao/int{bits}",
            f"torchao {bits}-bit integers",
            (MAPPING, GRANULARITY, GROUP, SCALE, EPS),
            partial(_scheme, bits, f"torchao/int{bits}"),
        )
        for bits in range(1, 9)
    ),
    Family(
        "torchao/8da4w",
        "4-bit groups for dynamically quantized 8-bit activations",
        (MAPPING, replace(GRANULARITY, default="group"), GROUP, SCALE, EPS),
        partial(_scheme, 4, "torchao/8da4w"),
    ),
)
