"""The packs: two oracles, the same bytes again, every known mistake told in two groups."""

import json

import pytest

from conformance.generators.__main__ import FOLDER, contents_of
from conformance.generators.kill_matrix import ledger_line, survivors
from conformance.generators.smoke import smoke_contents
from refquant.conformance.diagnosis import likely, read_matrix
from refquant.conformance.packs import read_smoke, read_suite
from refquant.conformance.results import CaseResult

TOTAL_BYTES = 8 << 20
UNTOLD = ["tflite-uint4-before", "tflite-uint4-even"]
"""Mistakes that no case tells yet."""
SAMPLE = ("decode/bnb", "mixed/tract", "integer/requantize-1", "integer/rows-2", "tokenizer/once")


@pytest.fixture(scope="module")
def packs():
    return read_suite(FOLDER)[1]


def test_the_suite_is_read_whole_and_small(packs):
    assert sum(len(pack.cases) for pack in packs) > 2000
    stored = [path for path in (FOLDER / "packs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in stored) <= TOTAL_BYTES
    ids = [case.id for pack in packs for case in pack.cases]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", SAMPLE)
def test_making_a_pack_again_gives_the_same_bytes(name):
    assert all(path.read_bytes() == raw for path, raw in contents_of(name).items())


def matrix():
    return json.loads((FOLDER / "generated" / "kill_matrix.json").read_bytes())["mutants"]


def test_every_known_mistake_is_told_in_two_groups(packs):
    found = matrix()
    weak = survivors(found, packs)
    assert [one.partition(" ")[0] for one in weak] == UNTOLD
    assert len(found) >= 400
    assert ledger_line(found, weak).startswith("conformance: kills ")


def test_the_smoke_pack_tells_every_known_mistake(packs):
    _, (smoke,) = read_smoke(FOLDER)
    chosen = {case.id for case in smoke.cases}
    missed = [
        name for name, one in matrix().items() if one["kills"] and not chosen & set(one["kills"])
    ]
    assert not missed
    text, binary = smoke_contents(packs, matrix())
    assert (text, binary) == tuple(
        (FOLDER / "packs" / f"smoke{ending}").read_bytes() for ending in (".json", ".bin")
    )


def test_nine_of_ten_mistakes_are_named():
    """An engine with a mistake fails with its outputs; the first name must be the mistake's.

    Mistakes whose outputs are the same in every case are one.
    """
    known = read_matrix(FOLDER)
    right, asked = 0, 0
    for name, mutant in known.mutants.items():
        if not mutant.kills:
            continue
        results = [
            CaseResult(case, "", "fail", output=output) for case, output in mutant.kills.items()
        ]
        named = likely(known, results)
        first = {found[0] for found in named.values() if found}
        same = {other for other, one in known.mutants.items() if one.kills == mutant.kills}
        asked += 1
        right += bool(first & same) and len(first) == 1
        assert name in same
    assert right >= 0.9 * asked, (right, asked)
