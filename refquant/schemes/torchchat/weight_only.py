"""`torchchat/embedding` and `torchchat/int8`: symmetric codes per row or group, divisor 127.5.

Codes are chosen by division with a binary32 scale that is at least 2**-23; the scale is then
stored in the model's dtype, so the stored scale is not the one that was divided by. A row that
does not divide into groups is filled up with zeros. Four-bit codes are stored plus 8, the even
column in the high nibble, which is the opposite of most formats.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.affine import Rule, affine_point
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES"]

Values = Mapping[str, str | int]

BITS = Knob("bits", "width of a code", ("8", "4"), "8")
GRANULARITY = Knob(
    "granularity", "weights that share one scale", ("channel", "group"), "channel", bare=True
)
GROUP = Knob("group", "weights of a group along the axis", range(2, 65537), 32)
SCALE = Knob("scale", "storage of the scale: the model's dtype", ("f32", "f16", "bf16"), "f32")


def _scheme(base: str, values: Values) -> Scheme:
    bits, granularity = int(values.get("bits", 8)), str(values["granularity"])
    shown = [f"bits={bits}"] if "bits" in values else []
    shown.append(f"group={values['group']}" if granularity == "group" else granularity)
    if values["scale"] != SCALE.default:
        shown.append(f"scale={values['scale']}")
    found = affine_point(
        f"{base}[{','.join(shown)}]",
        f"torchchat {bits}-bit codes, symmetric, a scale per {granularity}",
        bits=bits,
        granularity=granularity,
        group=int(values["group"]),
        scale=str(values["scale"]),
        divisor="half",
        range="full",
        using="unrounded",
        floor="eps",
        overflow="infinite",
    )
    return replace(_high_nibble_first(found) if bits == 4 else found, parameters=dict(values))


def _high_nibble_first(found: Scheme) -> Scheme:
    """The same codes plus 8, the even column in the high nibble."""
    planes = dict(found.layout.planes) | {"codes": Plane((2,), 1)}
    fields = dict(found.layout.fields) | {"q": field("codes", Unsigned(4), "4", "0")}
    layout = Layout(planes, fields, ("mul", "s", ("sub", "q", 8.0)))
    rule = Rule(found.parameters)

    def encode(x: NDArray[np.float32]) -> Mapping[str, NDArray[np.integer]]:
        codes = dict(rule.encode(x))
        return codes | {"q": (codes["q"] + np.int8(8)).view(np.uint8)}

    return replace(found, layout=layout, encode=encode)


FAMILIES = (
    Family(
        "torchchat/embedding",
        "torchchat embedding tables",
        (BITS, GRANULARITY, GROUP, SCALE),
        partial(_scheme, "torchchat/embedding"),
    ),
    Family(
        "torchchat/int8",
        "torchchat 8-bit linear layers",
        (GRANULARITY, GROUP, SCALE),
        partial(_scheme, "torchchat/int8"),
    ),
)
