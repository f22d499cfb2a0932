"""Every mutant is told from the true scheme by the cases that users get."""

import numpy as np
import pytest

import refquant
from refquant.errors import RefquantError
from refquant.testing import cases_of
from tests.mutants.every import MUTANTS


def killed_by(mutant, true):
    """The first case in which a wrong scheme gives another output, or None."""
    wrong = mutant.build()
    for case in cases_of(true):
        try:
            if case.x is None:
                tensor = refquant.QuantizedTensor(wrong, case.shape, case.planes)
                if different(tensor.dequantize(), case.values):
                    return case.id
            else:
                planes = refquant.quantize(case.x, wrong).planes
                if any((planes[name] != case.planes[name]).any() for name in case.planes):
                    return case.id
        except RefquantError as error:
            return f"{case.id}: {error}"
    return None


def different(left, right):
    same = (left.view(np.uint32) == right.view(np.uint32)) | (np.isnan(left) & np.isnan(right))
    return not same.all()


@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.id) for m in MUTANTS])
def test_mutants_are_killed(mutant):
    true = refquant.scheme(mutant.scheme_name)
    assert killed_by(mutant, true), f"{mutant.id} survives: {mutant.change}"


@pytest.mark.parametrize("name", sorted({m.scheme_name for m in MUTANTS}))
def test_the_true_scheme_survives(name):
    true = refquant.scheme(name)
    for case in cases_of(true):
        assert not different(case.tensor.dequantize(), case.values)
