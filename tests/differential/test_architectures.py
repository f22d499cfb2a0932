"""Every family against transformers again, with weights and tokens drawn anew."""

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from tests.architecture_models import NAMES, golden, run, states_in
from tests.differential.golden_architectures import SEED, make

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
