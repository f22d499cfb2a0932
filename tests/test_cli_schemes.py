"""`refquant schemes`: the table of contracts."""

import sys

import pytest

from refquant.schemes import ALIASES, FAMILIES, scheme, schemes
from refquant.schemes.codebooks import codebook_scheme
from tests.command_line import call


def listed(found):
    return [one["name"] for one in found.json["schemes"]]


def test_everything_is_listed_once(capsys):
    names = listed(call(capsys, "schemes", "--json"))
    assert len(names) == len(set(names))
    assert {one.name for one in schemes()} <= set(names)
    assert {scheme(full).name for full in ALIASES.values()} <= set(names)


def test_facts_are_the_schemes_own(capsys):
    (found,) = call(capsys, "schemes", "ggml/q4_0", "--json").json["schemes"]
    assert found["bits_per_weight"] == 4.5
    assert found["aliases"] == ["q4_0"]
    assert found["encodes"] is True
    assert found["digest"] == scheme("q4_0").digest
    assert found["planes"] == {"blocks": {"block": [32], "bytes": 18}}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ggml/q4_*", ["ggml/q4_0", "ggml/q4_1"]),
        ("Q8", ["ggml/q8_0"]),
        ("int4", ["int/affine[bits=4,sym,group=32]"]),
        ("int/affine[bits=3,group=64]", ["int/affine[bits=3,sym,group=64]"]),
    ],
)
def test_patterns_choose(capsys, pattern, expected):
    assert [
        n for n in listed(call(capsys, "schemes", pattern, "--json")) if n in expected
    ] == expected


def test_a_family_shows_its_knobs(capsys):
    found = call(capsys, "schemes", "int/affine").out
    for knob in FAMILIES["int/affine"].knobs:
        assert knob.meaning in found


@pytest.mark.parametrize("name", ["q4_00", "int/affine[bits=9]", "int/affine[bist=4]"])
def test_a_name_that_is_not_there_is_a_usage_error(capsys, name):
    found = call(capsys, "schemes", name)
    assert (found.status, found.out) == (2, "")


def test_columns_are_aligned(capsys):
    lines = call(capsys, "schemes").out.splitlines()
    ends = {line.index("yes") for line in lines if " yes " in line}
    assert ends == {lines[0].index("encodes")}


def test_formats_with_codebooks_are_listed_with_and_without_their_package(capsys, monkeypatch):
    with_package = call(capsys, "schemes", "ggml/iq2*", "--json").json["schemes"]
    codebook_scheme.cache_clear()
    scheme.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    without = call(capsys, "schemes", "ggml/iq2*", "--json").json["schemes"]
    shown = call(capsys, "schemes").out
    scheme.cache_clear()
    assert [one["name"] for one in without] == ["ggml/iq2_xxs", "ggml/iq2_xs", "ggml/iq2_s"]
    for left, right in zip(with_package, without, strict=True):
        assert left["digest"]
        assert right["digest"] is None
        assert right["needs"] == "pip install refquant[iq]"
        same = ("name", "title", "bits_per_weight", "encodes", "planes", "aliases")
        assert {key: left[key] for key in same} == {key: right[key] for key in same}
    assert shown.count("decode only, needs refquant[iq]") == 7
    assert "decode only, needs refquant[iq]" in call(capsys, "schemes", "ggml/iq1_m").out
