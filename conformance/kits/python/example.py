"""An engine in Python: `python example.py`."""

import struct
from collections.abc import Callable, Iterator, Mapping
from math import inf

from decoders import decode_f16, decode_mxfp4, decode_q4_0, decode_q8_0
from rq_adapter import Case, UnsupportedError, serve

FORMATS: dict[str, tuple[str, Callable[[bytes], Iterator[float]]]] = {
    "ggml/q4_0": ("blocks", decode_q4_0),
    "ggml/q8_0": ("blocks", decode_q8_0),
    "ggml/mxfp4": ("blocks", decode_mxfp4),
    "float/f16": ("values", decode_f16),
}


def binary32(value: float) -> bytes:
    """Rounded to nearest; `struct` refuses what rounds to infinity."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", inf if value > 0 else -inf)


def run(case: Case) -> Mapping[str, bytes]:
    """One case."""
    scheme = case.params.get("scheme")
    if case.op != "decode" or scheme not in FORMATS:
        raise UnsupportedError
    plane, decode = FORMATS[scheme]
    return {"values": b"".join(map(binary32, decode(case.inputs[plane].data)))}


FEATURES = ["decode.ggml-q4_0", "decode.ggml-q8_0", "decode.ggml-mxfp4", "decode.float-f16"]
serve("example-python", FEATURES, run)
