"""Every name that people type elsewhere yields a file of the embedded model, and the file runs."""

import numpy as np
import pytest

import refquant
from refquant.formats import open_checkpoint
from refquant.library import resolve
from refquant.runtime import load_model
from tests.command_line import call
from tests.upstream_recipes import OPTIONS

LEARNED = ("linear:gptq", "linear:int4-gptq")
PROMPT = (40, 321, 77, 1200, 5)


@pytest.fixture(scope="module")
def demo():
    return open_checkpoint(resolve("demo"))


@pytest.fixture(scope="module")
def expected(demo):
    model = load_model(demo)
    return model.next_logits(PROMPT, model.new_cache(8))


@pytest.mark.parametrize(
    "name",
    # The two names of GPTQ mean the same, and it takes longest.
    [pytest.param(name, marks=[pytest.mark.slow] * (name == LEARNED[1])) for name in OPTIONS],
)
def test_the_file_has_the_codes_of_its_schemes_and_runs(
    capsys, tmp_path, repository, demo, expected, name
):
    path, more = tmp_path / "x.rq", ()
    if name in LEARNED:
        more = ("--calibration", repository / "README.md", "--calibration-windows", 1)
    found = call(capsys, "quantize", "demo", "-o", path, *OPTIONS[name], *more, "--json")
    assert found.status == 0, found.err
    made, before = open_checkpoint(path), demo.tensors
    changed = [one for one in found.json["tensors"] if not one["untouched"]]
    assert bool(changed) == (name != "none")
    for one in changed[:: max(len(changed) // 4, 1)]:
        tensor, weights = made.tensors[one["name"]], before[one["name"]].dequantize()
        assert tensor.scheme.name == one["to"]
        if name not in LEARNED:
            if name == "precision":
                weights = refquant.quantize(weights, "bf16").dequantize()
            again = refquant.quantize(weights, one["to"])
            assert all(np.array_equal(tensor.planes[p], again.planes[p]) for p in again.planes)
    model = load_model(made)
    logits = model.next_logits(PROMPT, model.new_cache(8))
    # The least of them, an embedding of two bits, still points the same way.
    assert np.corrcoef(logits, expected)[0, 1] > 0.9
