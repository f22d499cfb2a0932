"""The packs: two oracles, the same bytes again, every known mistake told in two groups."""

import json
import subprocess
import sys

import msgspec
import pytest

from conformance import disagreements, reports
from conformance.generators import idle
from conformance.generators.__main__ import FOLDER, contents_with
from conformance.generators.kill_matrix import ledger_line, named, survivors
from conformance.generators.smoke import is_quick
from conformance.mutants import builds, rivals, shipped
from conformance.mutants.every import OPERATION_MUTANTS
from refquant.conformance.diagnosis import read_matrix
from refquant.conformance.packs import Comparison, read_pack, read_smoke, read_suite

TOTAL_BYTES = 8 << 20
SAMPLE = ("decode/awq", "mixed/tract", "integer/requantize-1", "integer/rows-2", "tokenizer/once")
ROOT = FOLDER.parent


@pytest.fixture(scope="module")
def packs():
    return read_suite(FOLDER)[1]


def test_the_suite_is_read_whole_and_small(packs):
    assert sum(len(pack.cases) for pack in packs) > 2000
    folders = (FOLDER / "packs", FOLDER / "files")
    stored = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    stored.append(FOLDER / "suite.json")
    assert sum(path.stat().st_size for path in stored) <= TOTAL_BYTES
    cases = [case for pack in packs for case in pack.cases]
    assert len({case.id for case in cases}) == len(cases)
    assert len({case.digest for case in cases}) == len(cases), "a case stands there twice"


def test_every_digest_is_that_of_its_case():
    for path in (FOLDER / "packs").rglob("*.json"):
        read_pack(path)


def test_making_packs_again_gives_the_same_bytes():
    """Those of the sample; the other packs, the smoke pack and `suite.json` are put together."""
    assert all(path.read_bytes() == raw for path, raw in contents_with(SAMPLE).items())


CLASSES = {"bits", "interval", "either", "ulp", "dot", "decision", "digest"}


def test_every_class_of_comparison_has_cases(packs):
    found = {
        (array.cmp or Comparison()).name
        for pack in packs
        for case in pack.cases
        for array in case.outputs
    }
    assert found == CLASSES


def test_engines_that_compute_nothing_pass_no_evidence(packs, monkeypatch):
    """Zeros, nothing at all, and the inputs given back pass what is excepted by name alone."""
    assert idle.unexcused(packs) == []
    monkeypatch.setattr(idle, "EXCEPTED", {"no-such-case": "none"})
    assert {"zeros", "nothing", "inputs", "no"} == {s.split()[0] for s in idle.unexcused(packs)}


def test_every_file_of_the_corpus_stands_for_a_clause(packs):
    """Rules by their numbers or codes of errors, all of which the specification has."""
    pages = [*(ROOT / "spec").glob("*.md"), FOLDER / "SPEC.md"]
    text = "".join(path.read_text("utf-8") for path in pages)
    cases = [case for pack in packs for case in pack.cases if case.id.startswith("container.")]
    named = {clause for case in cases for clause in case.clauses}
    assert all(case.clauses for case in cases)
    assert [clause for clause in named if clause not in text] == []


def matrix():
    return json.loads((FOLDER / "generated" / "kill_matrix.json").read_bytes())["mutants"]


def test_every_known_mistake_is_told_in_two_groups(packs):
    found = matrix()
    weak = survivors(found, packs)
    assert weak == []
    assert len(found) >= 600
    ours = (*rivals.MUTANTS, *builds.MUTANTS, *shipped.MUTANTS, *OPERATION_MUTANTS)
    assert set(found) >= {one.id for one in ours}
    assert "(100 %)" in ledger_line(found, weak)


def test_the_same_case_twice_is_no_second_group(packs):
    found = matrix()
    name, known = next(iter(found.items()))
    one = next(case for pack in packs for case in pack.cases if case.id in known["kills"])
    alone = {**known, "kills": {one.id: ""}}
    assert survivors({name: alone}, packs) != []
    again = [
        msgspec.structs.replace(pack, pack=f"{pack.pack}-again", cases=(one,)) for pack in packs[:1]
    ]
    renamed = msgspec.structs.replace(again[0], cases=(msgspec.structs.replace(one, id="other"),))
    twice = {**alone, "kills": {one.id: "", "other": ""}}
    assert survivors({name: twice}, [*packs, renamed]) != []


def test_every_disagreement_has_a_mutant_or_a_reason():
    assert disagreements.wrong(matrix()) == []
    assert len(disagreements.read()) >= 36
    assert disagreements.wrong({})[0] == "1: no mutant rival-q4_0-positive-zero is told by any case"


def test_every_report_is_of_a_known_mistake():
    assert reports.wrong(matrix()) == []
    assert sum(bool(one.get("link")) for one in matrix().values()) >= 50
    assert reports.wrong({})[0] == "no mutant is called shipped-f8-e4m3fn-480"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["generators", "generators.kill_matrix"])
def test_made_again_everything_is_the_same(module):
    command = [sys.executable, "-m", f"conformance.{module}", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_smoke_pack_tells_every_known_mistake_that_quick_cases_tell(packs):
    _, (smoke,) = read_smoke(FOLDER)
    chosen = {case.id for case in smoke.cases}
    quick = {case.id for pack in packs for case in pack.cases if is_quick(case)}
    missed = [one for one in matrix().values() if one["kills"] and not chosen & set(one["kills"])]
    assert {one["of"] for one in missed} >= {"model", "function"}
    assert not any(quick & set(one["kills"]) for one in missed)
    assert len(missed) < 0.05 * len(matrix())


def test_nine_of_ten_mistakes_are_named(packs):
    right, asked = named(read_matrix(FOLDER), packs)
    assert right >= 0.9 * asked, (right, asked)
