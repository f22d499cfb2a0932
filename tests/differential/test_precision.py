"""float16 and bfloat16 beside torch, which runs the same small llama in them, link by link."""

import json
import subprocess

import numpy as np
import pytest

from refquant.runtime import load_model
from tests.architecture_models import GOLDEN, golden
from tests.differential.logits_smollm2 import WORKERS
from tests.narrow_oracle import NarrowLlama
from tests.test_runtime_precision import NARROW, links_of

pytestmark = pytest.mark.differential


@pytest.mark.parametrize("precision", NARROW)
def test_both_lie_within_the_derived_bounds(precision, oracle, tmp_path):
    checkpoint, known = golden("llama")
    slow = NarrowLlama(checkpoint, precision)
    answer = tmp_path / "answer.npz"
    command = [oracle("torch"), WORKERS / "precision_transformers.py", GOLDEN / "llama", precision]
    subprocess.run([*command, json.dumps(known.tokens), answer], check=True, capture_output=True)
    with np.load(answer) as file:
        seen = dict(file)
    layers = [
        {name[2:]: rows for name, rows in seen.items() if name.startswith(f"{number}.")}
        for number in range(2)
    ]
    theirs = slow.strays(layers, seen["normal"], seen["logits"])
    ours = slow.strays(*links_of(load_model(checkpoint, precision=precision), known.tokens))
    for link in sorted(ours):
        print(f"{precision} {link}: ours {ours[link]:.2f}, torch {theirs[link]:.2f} of the bound")
    assert max(theirs.values()) <= 1, theirs
    assert max(ours.values()) <= 1, ours
