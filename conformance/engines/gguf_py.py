"""gguf-py: the NumPy quantizers and dequantizers of llama.cpp's Python package."""

from importlib.metadata import version

import gguf
import numpy as np
from gguf import quants
from protocol import Table, both, serve

NAMES = [
    "q1_0",
    "q2_0",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "q8_0",
    "q2_k",
    "q3_k",
    "q4_k",
    "q5_k",
    "q6_k",
    "iq4_xs",
    "mxfp4",
    "nvfp4",
    "tq1_0",
    "tq2_0",
    "iq4_nl",
    "iq1_s",
    "iq1_m",
    "iq2_xxs",
    "iq2_xs",
    "iq2_s",
    "iq3_xxs",
    "iq3_s",
]


def main() -> None:
    table: Table = {}
    for name in NAMES:
        kind = getattr(gguf.GGMLQuantizationType, name.upper(), None)
        if kind is None or kind not in quants._type_traits:
            continue

        def decode(planes, shape, kind=kind):
            blocks = planes["blocks"]
            return quants.dequantize(blocks.reshape(len(blocks), -1), kind).reshape(shape)

        def encode(x, importance, kind=kind):
            if importance is not None:
                raise ValueError("gguf-py takes no importance")
            return {"blocks": quants.quantize(x, kind)}

        writes = "quantize_blocks" in vars(quants._type_traits[kind])
        both(table, f"ggml/{name}", decode, encode if writes else None)
    both(
        table,
        "float/bf16",
        lambda planes, _: quants.dequantize(
            planes["values"].reshape(len(planes["values"]), -1), gguf.GGMLQuantizationType.BF16
        ),
        lambda x, _: {"values": stored_bf16(x)},
    )
    serve("gguf-py", version("gguf"), "Python", table, {"ggml.nan": "spreads"})


def stored_bf16(x):
    """The bytes of gguf-py's bfloat16."""
    return quants.quantize(x, gguf.GGMLQuantizationType.BF16).view(np.uint8)


if __name__ == "__main__":
    main()
