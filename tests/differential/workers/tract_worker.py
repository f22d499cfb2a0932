"""Runs tract on weights and on its block formats: `tract_worker.py REQUEST.npz ANSWER.npz`.

The request holds weights `x`, and the answer the bytes that tract's transform `block_quant` makes
of them; or blocks `q40` or `q8_1` of a matrix of `shape`, and the answer its rows, gathered one by
one, which are their values.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[3] / "conformance" / "engines"))

from tract_archive import HEADER_BYTES, Q8_1, Q40, decoded, encoded


def main():
    asked = dict(np.load(sys.argv[1]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "x" in asked:
            written = np.frombuffer(encoded(folder, asked["x"]), np.uint8)
            answer = {"header": written[:HEADER_BYTES], "q40": written[HEADER_BYTES:]}
        else:
            name, kind = ("q40", Q40) if "q40" in asked else ("q8_1", Q8_1)
            shape = tuple(map(int, asked["shape"]))
            answer = {"values": decoded(folder, kind, asked[name].tobytes(), shape)}
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
