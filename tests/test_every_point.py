"""Every value of every knob: the descriptor decodes by the interpreter and compiled alike.

Whole and ragged shapes, along the last axis and the first, on bytes that hold scales of every
kind. Families and knobs are found in the table, so a new one is tested by being listed.
"""

from functools import cache

import pytest

import refquant
from conformance.oracle import layout as oracle
from refquant.driver import decode_planes
from refquant.errors import RefquantError, SchemeError
from refquant.schemes import FAMILIES
from tests.command_line import call
from tests.tensor_parts import any_planes
from tests.test_layout_values import assert_same_bits
from tests.test_schemes import fitting_shape

LARGE = 4096
"""Extents beyond this are decoded one weight at a time for minutes; a smaller one stands in."""
NOWHERE = {("aeq/int2", "algorithm", "mse")}
"""Values that a family shares with its kin and has no member of, as its knob says."""


def values_of(knob):
    """All values of a knob; of a long range the ends that are not too large, and some between."""
    if not isinstance(knob.values, range) or len(knob.values) <= 16:
        return tuple(map(str, knob.values))
    first, step = knob.values.start, knob.values.step
    chosen = {first, first + step, first + 5 * step, int(knob.default)}
    return tuple(str(value) for value in sorted(chosen))


def settings(family, knob, value):
    """Knobs that give `knob` this value: alone, else with one more knob that it needs."""
    alone = f"{knob.name}={value}"
    yield alone
    for other in family.knobs:
        if other is not knob:
            yield from (f"{alone},{other.name}={choice}" for choice in values_of(other))


def point(family, knob, value):
    """A member with this value, or None where no second knob makes one."""
    for text in settings(family, knob, value):
        try:
            found = family.scheme(text)
        except RefquantError:
            continue
        if str(found.parameters.get(knob.name, value)) == value:
            return found
    return None


@cache
def points():
    """Every scheme by name, and a member of every family for every value of every knob."""
    found = {scheme.name: scheme for scheme in refquant.schemes()}
    for family in FAMILIES.values():
        for knob in family.knobs:
            for value in values_of(knob):
                member = point(family, knob, value)
                if member is not None:
                    found[member.name] = member
    return found


def layouts():
    """One name for each layout: members that differ in their encoder only share it."""
    return {scheme.digest: name for name, scheme in reversed(points().items())}.values()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_value_of_every_knob_has_a_point(family):
    for knob in family.knobs:
        for value in values_of(knob):
            known = (family.name, knob.name, value) in NOWHERE
            assert bool(point(family, knob, value)) != known, f"{knob.name}={value}"


def shapes(scheme):
    """A whole shape, and one whose last blocks are not full."""
    whole = fitting_shape(scheme, rows=1)
    if max(whole) > LARGE:
        whole = (*whole[:-1], LARGE)
    return whole, (*(n + 1 for n in whole[:-1]), whole[-1] + 3)


def check(layout, shape, seed):
    planes = any_planes(layout, shape, seed)
    raw = {name: records.tobytes() for name, records in planes.items()}
    assert_same_bits(
        decode_planes(layout, planes, shape), oracle.values(layout.describe(), raw, shape)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(layouts()))
def test_each_point_decodes_by_the_interpreter_and_compiled_alike(name):
    layout = points()[name].layout
    for seed, shape in enumerate(shapes(points()[name])):
        check(layout, shape, seed)
        if any(
            plane.order or (len(plane.block) > 1 and any(plane.block[:-1]))
            for plane in layout.planes.values()
        ):
            with pytest.raises(SchemeError, match="cannot turn"):
                layout.along(0, len(shape))
            continue
        check(layout.along(0, len(shape)), (shape[-1], *shape[:-1]), seed + 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(points()))
def test_each_point_has_a_page_and_a_block_to_explain(name, capsys):
    page = call(capsys, "spec", name)
    assert page.status == 0, page.err
    assert name.partition("[")[0] in page.out
    explained = call(capsys, "explain", name, "--json")
    assert explained.status == 0, explained.err
    assert explained.json["planes"]
