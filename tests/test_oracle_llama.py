"""The plain llama of the suite: the second oracle of its small models."""

from pathlib import Path

import numpy as np
import pytest

from conformance.oracle import functions
from conformance.plain_model import model_of
from refquant.arithmetic import correctly_rounded
from refquant.conformance.packs import read_pack

SUITE = Path(__file__).resolve().parents[1] / "conformance"
CASES = {
    case.id: (pack, case)
    for name in ("llama", "longer")
    for pack in [read_pack(SUITE / "packs" / "model" / f"{name}.json")]
    for case in pack.cases
}
QUICK = "model.llama.mxfp4"


def answers(name):
    """Each output that the plain model gives for a case, beside the one that is kept."""
    pack, case = CASES[name]
    path = SUITE / case.params["file"]
    tokens = pack.array(case.inputs[0]).tolist()
    states = model_of(path).states(tokens)
    for out in case.outputs:
        yield out.name, np.array(states[out.name], np.float32), pack.array(out)


@pytest.mark.parametrize(
    "name",
    [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_what_is_kept_is_what_the_plain_model_computes(name):
    for place, found, kept in answers(name):
        assert np.array_equal(found.view(np.uint32), kept.view(np.uint32)), place


def test_functions_are_those_of_the_runtime_rounded_once():
    x = np.float32([0.0, -0.0, 1e-30, -1.5, 88.7, 89.0, -87.3, -103.9, -104.0, 3.25])
    ours = correctly_rounded.exp(x)
    theirs = np.float32([functions.exponential(float(one)) for one in x])
    assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))
