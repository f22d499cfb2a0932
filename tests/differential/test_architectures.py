"""Every family against transformers again, with weights and tokens drawn anew."""

import subprocess

import numpy as np
import pytest

from refquant.architectures import ModelTensor
from refquant.formats import open_checkpoint
from refquant.formats.hugging_face_forms import source_of
from refquant.formats.safetensors import StoredTensor
from tests.architecture_models import NAMES, golden, run, states_in
from tests.differential.golden_architectures import SEED, WORKER, make

pytestmark = pytest.mark.differential


@pytest.fixture(scope="module")
def fresh(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("architectures")
    make(oracle("torch"), folder, 2026)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_lie_within_their_bounds_at_every_layer(fresh, name):
    checkpoint, states = open_checkpoint(fresh / name), states_in(fresh / name)
    ours = states.strays(run(checkpoint, states.tokens))
    with np.load(fresh / name / "states.npz") as file:
        theirs = {state: file[f"{state}.theirs"] for state in states.exact}
    far = states_in(fresh / name, bound="far").strays(theirs)
    print(f"{name}: ours {max(ours.values()):.2g}, theirs {max(far.values()):.2g} of the bound")
    assert max(ours.values()) <= 1, ours
    assert max(far.values()) <= 1, far


def test_the_stored_states_are_what_transformers_gives(oracle, tmp_path):
    make(oracle("torch"), tmp_path, SEED, "gemma3", "gpt_oss")
    for name in ("gemma3", "gpt_oss"):
        stored, again = golden(name)[1], states_in(tmp_path / name)
        assert stored.tokens == again.tokens
        assert stored.exact.keys() == again.exact.keys()
        for state, exact in stored.exact.items():
            # float64 on another machine: the same formulas, 2**29 times as fine.
            assert np.all(np.abs(again.exact[state] - exact) <= 2.0**-20 * stored.bound[state])


def test_experts_in_mxfp4_are_what_transformers_makes_of_them(oracle, tmp_path):
    random = np.random.default_rng(3)
    codes = random.integers(0, 256, (2, 6, 3, 16), np.uint8)
    scales = random.integers(0, 255, (2, 6, 3), np.uint8)
    np.savez(tmp_path / "packed.npz", codes=codes, scales=scales)
    worker = WORKER.parent / "mxfp4_transformers.py"
    answer = tmp_path / "answer.npy"
    subprocess.run([oracle("torch"), worker, tmp_path / "packed.npz", answer], check=True)
    theirs = np.load(answer)
    file = {
        f"x_{part}": StoredTensor(f"x_{part}", "U8", array.shape, 0, array.reshape(-1))
        for part, array in (("blocks", codes), ("scales", scales))
    }
    for form, first in (("even, transposed", 0), ("odd, transposed", 1)):
        ours = source_of(ModelTensor("y", (), "", ("x",), form), file, "").tensor().dequantize()
        same = np.ascontiguousarray(theirs[:, :, first::2].swapaxes(1, 2))
        assert np.array_equal(ours.view(np.uint32), same.view(np.uint32))
