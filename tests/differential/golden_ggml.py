"""Writes tests/data/ggml from ggml's C functions.

    python -m tests.differential.golden_ggml

`make test` reads these files where no compiler is; tests/differential/test_ggml.py compares them
with the C functions again.
"""

import tempfile
from pathlib import Path

import numpy as np

import refquant
from tests.ggml_inputs import weights
from tests.ggml_oracle import ask, oracle_of, type_of
from tools.oracles import python_of

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
    return [name for name in found if name != "ggml/q8_1"]


def golden(name, oracle, folder, *, weighted=False):
    """The bytes that C writes for a scheme, all distributions behind one another."""
    kind, symbol = type_of(name)
    python = oracle(oracle_of(name))
    extra = {"row": 1024, "importance": importance()} if weighted else {}
    parts = [
        ask(python, folder, kind, x=x, symbol=symbol, **extra)
        for x in inputs().values()
        if np.isfinite(x).all() or (refquant.scheme(name).non_finite and not weighted)
    ]
    return np.concatenate(
        [part["chunk" if weighted or name == "ggml/iq4_nl" else "reference"] for part in parts]
    ).tobytes()


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
                data = golden(name, python_of, Path(folder), weighted=weighted)
                place(name, weighted=weighted).write_bytes(data)


if __name__ == "__main__":
    main()
