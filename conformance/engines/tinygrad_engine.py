"""tinygrad: its reader of GGUF's blocks, computed by the package's own emulator of a device.

That emulator needs no compiler. It computes in Python's floats and rounds what it stores.
"""

import os
from importlib.metadata import version

os.environ["DEV"] = "PYTHON"

import numpy as np
from protocol import Table, both, serve
from tinygrad import Tensor
from tinygrad.llm.gguf import ggml_data_to_tensor

TYPES = {
    "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q4_k": 12, "q5_k": 13, "q6_k": 14,
    "iq3_xxs": 18, "iq3_s": 21, "iq2_s": 22, "iq4_xs": 23, "mxfp4": 39, "q1_0": 41,
}  # fmt: skip

MOST = 1 << 16
"""Bytes of an array that the emulator decodes within the time of a case."""


def decoder(kind):
    def decode(planes, shape):
        blocks = Tensor(np.ascontiguousarray(planes["blocks"]).reshape(-1))
        found = ggml_data_to_tensor(blocks, int(np.prod(shape)), kind)
        return found.float().numpy().reshape(shape)

    return decode


def main() -> None:
    table: Table = {}
    for name, kind in TYPES.items():
        both(table, f"ggml/{name}", decoder(kind))
    serve("tinygrad", version("tinygrad"), "Python", table, max_bytes=MOST)


if __name__ == "__main__":
    main()
