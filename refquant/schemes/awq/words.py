"""AWQ int4: eight outputs in a 32-bit word, in the order 0, 2, 4, 6, 1, 3, 5, 7.

A weight matrix is `[out, in]`; its planes are stored input axis first. The order lets a CUDA
kernel take two neighbours apart with one mask. Zero points are packed the same way and stored as
they are.

Packing is AutoAWQ's for all codes. Choosing them is its rounding, `round(x / scale) + zero_point`,
under another choice of range: 0.0 always belongs to it, and codes follow the scale as it is stored.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.floats import FLOAT16
from refquant.schemes.gptq.rtn import round_to_nearest
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
STORED_FIRST = (1, 0)
EIGHT_OUTPUTS = "(4,2):(4,16)+0"

KNOBS = (
    Knob("granularity", "inputs that share one scale", ("group", "channel"), "group", bare=True),
    Knob("group", "inputs of a group", range(16, 65537, 16), 128),
)


def encode(
    x: F32,
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s f16[g, 1], z u8[g, 1], q u8[g, n]
    """The nearest codes under the range of each group; no search over activations."""
    scale, zero, codes = round_to_nearest(x, 4, symmetric=False)
    return {"s": scale[:, None], "z": zero[:, None], "q": codes}


def _scheme(knobs: Mapping[str, str | int]) -> Scheme:
    group = int(knobs["group"]) if knobs["granularity"] == "group" else 0
    layout = Layout(
        {
            "qweight": Plane((8, 1), 4, STORED_FIRST),
            "qzeros": Plane((8, group), 4, STORED_FIRST),
            "scales": Plane((1, group), 2, STORED_FIRST),
        },
        {
            "q": field("qweight", Unsigned(4), EIGHT_OUTPUTS, over=(1, 1)),
            "z": field("qzeros", Unsigned(4), EIGHT_OUTPUTS, over=(1, group)),
            "s": field("scales", FLOAT16, "0", over=(1, group)),
        },
        ("mul", "s", ("sub", "q", "z")),
    )
    return Scheme(
        f"awq/int4[{f'group={group}' if group else 'channel'}]",
        "AWQ 4-bit codes of eight outputs in a word, with zero points",
        layout,
        encode,
        (group,),
        parameters=dict(knobs),
    )


FAMILIES = (Family("awq/int4", "AWQ 4-bit codes of eight outputs in a word", KNOBS, _scheme),)
