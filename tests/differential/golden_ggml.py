"""Writes tests/data/ggml from ggml's C functions, or compares with what is there.

    python -m tests.differential.golden_ggml INTERPRETER     write, with the oracle's interpreter

`make test` reads these files where no compiler is; tests/differential/test_ggml.py compares them
with the C functions again.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import refquant
from tests.ggml_inputs import weights
from tests.ggml_oracle import ask, type_of

FOLDER = Path(__file__).parent.parent / "data" / "ggml"
BLOCKS = 12
SEED = 20


def inputs():
    """Weights of each distribution, by name."""
    return dict(weights(BLOCKS, SEED))


def names():
    """The schemes with files: block formats that can be encoded."""
    return [
        found.name
        for found in refquant.schemes()
        if found.name.startswith("ggml/") and found.can_encode
    ]


def golden(name, python, folder):
    """The bytes that C writes for a scheme, all distributions behind one another."""
    kind, symbol = type_of(name)
    parts = [
        ask(python, folder, kind, x=x, symbol=symbol)["from_float"]
        for title, x in inputs().items()
        if refquant.scheme(name).non_finite or np.isfinite(x).all()
    ]
    return np.concatenate(parts).tobytes()


def main():
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / "inputs.npz", **inputs())
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            data = golden(name, Path(sys.argv[1]), Path(folder))
            (FOLDER / f"{name.removeprefix('ggml/')}.bin").write_bytes(data)


if __name__ == "__main__":
    main()
