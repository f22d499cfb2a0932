"""llama.cpp on the quantized file itself: every operation beside ours, and the tokens that follow.

llama.cpp turns what goes into each product into codes of 8 bits, so a state that differs in its
last bit now and then gets another code, and logits move by tenths. What can be the same is every
operation on the same operands, and that is asserted: of all layers, for every token of five prompts
and of the 64 tokens that llama.cpp writes after each, within bounds that follow from the formulas
(`llama_operations.py`). So both are executions of the same formulas within the same bounds, and
where they choose different tokens, those bounds do not decide between the two. How far they reach
is measured beside it: by our own leads after half of all products' results went up by one ulp.
"""

import json
import platform
import subprocess
from collections import defaultdict

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.runtime import Tokenizer, blocks, ggml_product, load_model
from tests.differential.llama_operations import Taps, table_geglu
from tests.differential.logits_smollm2 import WORKERS
from tests.differential.test_greedy import COUNT, PROMPTS, gemma3_gguf, theirs

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors round otherwise"),
]

__all__ = ["gemma3_gguf"]

MODELS = ["smollm2_gguf", "gemma3_gguf"]
SHAKES = 3


class Case:
    """A model in both, the prompts, and what llama.cpp writes after them."""

    def __init__(self, path, python, folder):
        self.path, self.python, self.folder = path, python, folder
        self.checkpoint = open_checkpoint(path)
        tokenizer = Tokenizer(self.checkpoint.tokenizer)
        prompts = [tokenizer.encode(text) for text in PROMPTS]
        written = theirs(python, path, prompts, folder)
        self.texts = list(zip(prompts, written, strict=True))
        self.family = self.checkpoint.architecture.family

    def under(self, contract):
        return load_model(self.checkpoint, compute=contract)

    def rows(self, prompt, written):
        """What the taps show of one text."""
        asked = self.folder / "texts.json"
        asked.write_text(json.dumps([[prompt, written]]))
        worker = WORKERS / "taps_llama_cpp.py"
        subprocess.run([self.python, worker, self.path, asked, self.folder], check=True)
        answer = self.folder / "0.npz"
        with np.load(answer) as found:
            rows = dict(found)
        answer.unlink()
        return rows


@pytest.fixture(scope="module", params=MODELS)
def case(request, oracle, tmp_path_factory):
    path = request.getfixturevalue(request.param)
    return Case(path, oracle("llama"), tmp_path_factory.mktemp("taps"))


def strays(model, rows, text):
    """By kind of operation: how many there are, and the largest difference in bounds."""
    found = defaultdict(list)
    for operation in Taps(model, rows).operations(text):
        found[operation.kind].append(operation.stray)
    return {kind: (len(shares), max(shares)) for kind, shares in found.items()}


def test_every_operation_lies_within_its_bound(case):
    model, table = case.under("ggml_x86"), defaultdict(list)
    for prompt, written in case.texts:
        rows = case.rows(prompt, written)
        best = np.argmax(rows["token_embd.weight"][len(prompt) - 1 : -1], axis=1)
        assert best.tolist() == written, "the taps changed what they watch"
        for kind, found in strays(model, rows, prompt + written).items():
            table[kind].append(found)
    print(f"\n{case.family}: operations a text, and the largest difference in units of its bound")
    for kind, found in table.items():
        print(f"  {kind:18}{found[0][0]:4}{max(share for _, share in found):10.3g}")
        assert all(share <= 1 for _, share in found), kind


def test_another_rounding_or_sum_is_noticed(case, monkeypatch):
    prompt, written = case.texts[0]
    rows, text = case.rows(prompt, written[:4]), prompt + written[:4]
    right = strays(case.under("ggml_x86"), rows, text)
    rounded = strays(case.under("ggml_block"), rows, text)
    assert max(share for _, share in right.values()) <= 1
    assert rounded["query, key, value"][1] > 5

    def without_last_code(x):
        found = ggml_product.ggml_x86_blocks(x)
        found.codes[:, -1] = 0
        found.total[:, -1] *= np.float32(1 + 2.0**-10)
        return found

    contracts = ggml_product.GGML_CONTRACTS | {"ggml_x86": without_last_code}
    monkeypatch.setattr(ggml_product, "GGML_CONTRACTS", contracts)
    summed = strays(case.under("ggml_x86"), rows, text)
    assert summed["query, key, value"][1] > 2
    assert summed["output"][1] > 2


def logits_after(model, prompt, written):
    text = prompt + written
    places = np.arange(len(prompt) - 1, len(text) - 1)
    return model.forward(text, model.new_cache(len(text)), rows=places)


def shaken(seed, plain):
    """The same products, but half of the results are the next larger number."""
    random = np.random.default_rng(seed)

    def product(x, matrix, bias=None):
        y = plain(x, matrix, bias)
        return np.where(random.random(y.shape) < 0.5, np.nextafter(y, np.float32(np.inf)), y)

    return product


def reach(model, prompt, written, monkeypatch):
    """Our leads f32[64], and how far they move at most when products move by an ulp."""
    steps, plain = np.arange(len(written)), blocks.linear
    logits = logits_after(model, prompt, written)
    second, best = np.argsort(logits, axis=1)[:, -2:].T
    leads, moves = logits[steps, best] - logits[steps, second], []
    for seed in range(SHAKES):
        with monkeypatch.context() as patched:
            patched.setattr(blocks, "linear", shaken(seed, plain))
            moved = logits_after(model, prompt, written)
        moves.append(np.abs(moved[steps, best] - moved[steps, second] - leads))
    return logits, np.array(moves)


def test_tokens_are_the_same_unless_an_ulp_decides(case, monkeypatch):
    """Wherever another token is written, our lead over it is less than what an ulp can move."""
    monkeypatch.setitem(blocks.GATES, "gelu_tanh", table_geglu)
    model = case.under("ggml_x86")
    print(f"\n{case.family}: tokens alike of {COUNT}, our leads where not; leads moved by an ulp")
    for text, (prompt, written) in zip(PROMPTS, case.texts, strict=True):
        logits, moves = reach(model, prompt, written, monkeypatch)
        best = np.argmax(logits, axis=1)
        apart = np.flatnonzero(best != written)
        leads = [float(logits[n, best[n]] - logits[n, written[n]]) for n in apart]
        said = ", ".join(f"{n}: {lead:.3f}" for n, lead in zip(apart, leads, strict=True))
        moved = f"median {np.median(moves):.3f}, at most {moves.max():.3f}"
        print(f"  {text[:26]!r:32}{COUNT - len(apart):3}  [{said}]  {moved}")
        assert max(leads, default=0) <= moves.max()
        assert len(apart) <= COUNT // 8
