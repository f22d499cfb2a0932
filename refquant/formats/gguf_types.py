"""The tensor types of ggml, as data: id, name, block size, block bytes, and our scheme's name.

Source: `enum ggml_type` and the block structures of ggml, as llama-cpp-python 0.3.36 carries it.
The ids 4, 5, 31 to 33 and 36 to 38 belonged to types that ggml no longer accepts in files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["GGML_TYPES", "REMOVED_GGML_TYPES", "GgmlType"]


@dataclass(frozen=True, slots=True)
class GgmlType:
    """One tensor type of ggml: `block_size` weights along the last axis in `block_bytes` bytes.

    `scheme` is the name of the refquant scheme for these bytes, whether or not this version has
    it; integers are not weights and have none.
    """

    name: str
    block_size: int
    block_bytes: int
    scheme: str | None


def _block(name: str, block_size: int, block_bytes: int) -> GgmlType:
    return GgmlType(name, block_size, block_bytes, f"ggml/{name.lower()}")


GGML_TYPES: Final[Mapping[int, GgmlType]] = {
    0: GgmlType("F32", 1, 4, "float/f32"),
    1: GgmlType("F16", 1, 2, "float/f16"),
    2: _block("Q4_0", 32, 18),
    3: _block("Q4_1", 32, 20),
    6: _block("Q5_0", 32, 22),
    7: _block("Q5_1", 32, 24),
    8: _block("Q8_0", 32, 34),
    9: _block("Q8_1", 32, 36),
    10: _block("Q2_K", 256, 84),
    11: _block("Q3_K", 256, 110),
    12: _block("Q4_K", 256, 144),
    13: _block("Q5_K", 256, 176),
    14: _block("Q6_K", 256, 210),
    15: _block("Q8_K", 256, 292),
    16: _block("IQ2_XXS", 256, 66),
    17: _block("IQ2_XS", 256, 74),
    18: _block("IQ3_XXS", 256, 98),
    19: _block("IQ1_S", 256, 50),
    20: _block("IQ4_NL", 32, 18),
    21: _block("IQ3_S", 256, 110),
    22: _block("IQ2_S", 256, 82),
    23: _block("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1, None),
    25: GgmlType("I16", 1, 2, None),
    26: GgmlType("I32", 1, 4, None),
    27: GgmlType("I64", 1, 8, None),
    28: GgmlType("F64", 1, 8, "float/f64"),
    29: _block("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2, "float/bf16"),
    34: _block("TQ1_0", 256, 54),
    35: _block("TQ2_0", 256, 66),
    39: _block("MXFP4", 32, 17),
    40: _block("NVFP4", 64, 36),
    41: _block("Q1_0", 128, 18),
    42: _block("Q2_0", 64, 18),
}

REMOVED_GGML_TYPES: Final[Mapping[int, str]] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
