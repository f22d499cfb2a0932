"""Writes tests/data/architectures: small models, and what transformers computes with them.

    python -m tests.differential.golden_architectures INTERPRETER

with the interpreter of the oracle `torch`. `make test` reads these files where transformers is
not; tests/differential/test_architectures.py asks transformers again, for other weights.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.architecture_models import GOLDEN

WORKER = Path(__file__).parent / "workers" / "architectures_worker.py"
SEED = 7


def make(python, folder, seed, *names):
    """Let the worker make models in `folder`: all of its own, or those of these names."""
    subprocess.run([python, WORKER, folder, str(seed), *names], check=True, capture_output=True)


def main():
    """Make all models, and keep of their states what the quick tests need."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(sys.argv[1], folder, SEED)
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for model in sorted(folder.iterdir()):
            with np.load(model / "states.npz") as states:
                kept = {
                    key: value
                    for key, value in states.items()
                    if not key.endswith((".theirs", ".far", ".half"))
                }
            np.savez_compressed(model / "states.npz", **kept)
            shutil.copytree(model, GOLDEN / model.name)


if __name__ == "__main__":
    main()
