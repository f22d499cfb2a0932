"""GPTQ: 2, 3, 4 or 8-bit codes in 32-bit words along the input axis, one zero point a group.

A weight matrix is `[out, in]`; its planes are stored input axis first. A word of `qweight` holds
32 / bits weights of one output, low bits first, a word of `qzeros` the zero points of as many
outputs. Version 1 of the format stores every zero point less one.

With `order=act` (desc_act) plane `g_idx` names the group of each input, and parameters are gathered
from the groups; the encoder then fills groups in the order of falling importance. With `words=rows`
the three words that hold 32 inputs of 3 bits are a row each, as in checkpoints. Both are operators
of level 2.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Plane, Unsigned, field
from refquant.layout.operators import Operator
from refquant.schemes.floats import FLOAT16
from refquant.schemes.gptq.rtn import round_to_nearest
from refquant.schemes.level2 import Gathered, WordRows
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
STORED_FIRST = (1, 0)

KNOBS = (
    Knob(
        "v",
        "version of the format: zero points are stored less one, or as they are",
        ("1", "2"),
        "1",
    ),
    Knob(
        "symmetry", "the zero point is the middle code, or free", ("sym", "asym"), "sym", bare=True
    ),
    Knob("granularity", "inputs that share one scale", ("group", "channel"), "group", bare=True),
    Knob("group", "inputs of a group", range(32, 65537, 32), 128),
    Knob(
        "order",
        "groups are runs of inputs, or `g_idx` names the group of each input (desc_act)",
        ("runs", "act"),
        "runs",
    ),
)
WORDS = Knob(
    "words",
    "the three words of 32 inputs lie together, or in rows of their own as in checkpoints",
    ("together", "rows"),
    "together",
)


def encode(
    bits: int, knobs: Mapping[str, str | int], x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s f16[g, 1], z u8[g, 1], q u8[g, n]
    """The nearest codes under the range of each group; no calibration."""
    less = 1 if knobs["v"] == "1" else 0
    scale, zero, codes = round_to_nearest(
        x, bits, symmetric=knobs["symmetry"] == "sym", least_zero=less
    )
    return {"s": scale[:, None], "z": zero[:, None] - np.uint8(less), "q": codes}


def _layout(bits: int, group: int, version: str) -> Layout:
    # Codes of 3 bits straddle words: 32 of them in three words are the least whole record.
    count, size = (32, 12) if bits == 3 else (32 // bits, 4)
    place = f"{count}:{bits}+0"
    centred: Expression = ("sub", "q", ("add", "z", 1.0) if version == "1" else "z")
    return Layout(
        {
            "qweight": Plane((1, count), size, STORED_FIRST),
            "qzeros": Plane((count, group), size, STORED_FIRST),
            "scales": Plane((1, group), 2, STORED_FIRST),
        },
        {
            "q": field("qweight", Unsigned(bits), place, over=(1, 1)),
            "z": field("qzeros", Unsigned(bits), place, over=(1, group)),
            "s": field("scales", FLOAT16, "0", over=(1, group)),
        },
        ("mul", "s", centred),
    )


def _scheme(bits: int, knobs: Mapping[str, str | int]) -> Scheme:
    group = int(knobs["group"]) if knobs["granularity"] == "group" else 0
    shown = [f"v={knobs['v']}", str(knobs["symmetry"]), f"group={group}" if group else "channel"]
    shown += [f"{k.name}={knobs[k.name]}" for k in (KNOBS[-1], WORDS) if _is_set(k, knobs)]
    return Scheme(
        f"gptq/int{bits}[{','.join(shown)}]",
        f"GPTQ {bits}-bit codes in words along the inputs, {knobs['symmetry']}metric",
        _layout(bits, group, str(knobs["v"])),
        partial(encode, bits, knobs),
        (group,),
        parameters=dict(knobs),
        operators=_operators(group, knobs),
    )


def _is_set(knob: Knob, knobs: Mapping[str, str | int]) -> bool:
    return knobs.get(knob.name, knob.default) != knob.default


def _operators(group: int, knobs: Mapping[str, str | int]) -> tuple[Operator, ...]:
    found: list[Operator] = []
    if _is_set(WORDS, knobs):
        found.append(WordRows("qweight", 3))
    if knobs["order"] == "act":
        found.append(Gathered("g_idx", ("qzeros", "scales"), "q", group))
    return tuple(found)


FAMILIES = tuple(
    Family(
        f"gptq/int{bits}",
        f"GPTQ {bits}-bit codes in words",
        (*KNOBS, WORDS) if bits == 3 else KNOBS,
        partial(_scheme, bits),
    )
    for bits in (2, 3, 4, 8)
)
