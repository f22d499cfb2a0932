"""Every mutant is told from the true scheme by the cases that users get."""

from itertools import islice

import pytest

import refquant
from conformance.mutants.schemes.every import MUTANTS
from refquant.errors import RefquantError
from refquant.testing import cases_of, probable_mistake
from tests.comparisons import unlike


def kills(mutant, true):
    """The kinds of cases in which a wrong scheme gives another output, one after the other."""
    wrong = mutant.build()
    for case in cases_of(true):
        try:
            if case.x is None:
                tensor = refquant.QuantizedTensor(wrong, case.shape, case.planes)
                killed = unlike(tensor.dequantize(), case.values).any()
            else:
                planes = refquant.quantize(case.x, wrong).planes
                killed = any((planes[name] != case.planes[name]).any() for name in case.planes)
        except RefquantError:
            killed = True
        if killed:
            yield case.kind


@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.id) for m in MUTANTS])
def test_mutants_are_killed_by_two_kinds_of_cases(mutant):
    """A mistake that a single kind of input finds comes back when that one is changed."""
    found = tuple(islice(kills(mutant, refquant.scheme(mutant.scheme_name)), 2))
    assert found, f"{mutant.id} survives: {mutant.change}"
    assert len(found) == 2, f"{mutant.id} is found by the cases of {found[0]} alone"


def misread(mutant):
    """The first case of a scheme and what a wrong decoder makes of it, where both differ."""
    case = next(iter(cases_of(refquant.scheme(mutant.scheme_name), edge=False)))
    try:
        wrong = refquant.QuantizedTensor(mutant.build(), case.shape, case.planes).dequantize()
    except RefquantError:
        return None
    return (case, wrong) if unlike(wrong, case.values).any() else None


def test_nine_of_ten_wrong_decoders_are_named():
    found = {mutant.id: misread(mutant) for mutant in MUTANTS}
    wrong = {name: both for name, both in found.items() if both}
    nameless = [
        name for name, (case, values) in wrong.items() if not probable_mistake(values, case.tensor)
    ]
    assert len(wrong) > 50
    assert len(nameless) <= len(wrong) / 10, nameless


@pytest.mark.parametrize("name", sorted({m.scheme_name for m in MUTANTS}))
def test_the_true_scheme_survives(name):
    true = refquant.scheme(name)
    for case in cases_of(true):
        assert not unlike(case.tensor.dequantize(), case.values).any()
