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


def importance(columns=1024):
    """How much an error counts in each column; some columns not at all."""
    drawn = np.random.default_rng(SEED).standard_normal(columns).astype(np.float32) ** 2
    drawn[::7] = 0
    return drawn


def encodable(*, weighted=False):
    """The names of block formats that can be encoded, or those that take importance."""
    return [
        found.name
        for found in refquant.schemes()
        if found.name.startswith("ggml/")
        and (found.encode_weighted if weighted else found.encode) is not None
    ]


def decodable():
    """The names of block formats whose values C gives."""
    found = [scheme.name for scheme in refquant.schemes() if scheme.name.startswith("ggml/")]
    return [name for name in found if name not in ("ggml/q8_1", "ggml/q8_k")]


def golden(name, python, folder, *, weighted=False):
    """The bytes that C writes for a scheme, all distributions behind one another."""
    kind, symbol = type_of(name)
    extra = {"row": 1024, "importance": importance()} if weighted else {}
    parts = [
        ask(python, folder, kind, x=x, symbol=symbol, **extra)
        for x in inputs().values()
        if refquant.scheme(name).non_finite or np.isfinite(x).all()
    ]
    return np.concatenate([part["chunk" if weighted else "from_float"] for part in parts]).tobytes()


def place(name, *, weighted=False):
    """The file of a scheme."""
    return FOLDER / f"{name.removeprefix('ggml/')}{'.importance' if weighted else ''}.bin"


def main():
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / "inputs.npz", importance=importance(), **inputs())
    with tempfile.TemporaryDirectory() as folder:
        for weighted in (False, True):
            for name in encodable(weighted=weighted):
                data = golden(name, Path(sys.argv[1]), Path(folder), weighted=weighted)
                place(name, weighted=weighted).write_bytes(data)


if __name__ == "__main__":
    main()
