"""A scheme that is only in the table fails `make check`, until each kind of evidence is there.

A throw-away scheme is put into the table in memory, and the checks of the house are asked about it.
"""

import json
from dataclasses import replace

import msgspec
import pytest

import refquant
from conformance import evidence
from refquant.schemes import SCHEMES
from spec import scheme_pages
from tests import comparison_table
from tests.house import test_comparisons, test_evidence

NAME = "ggml/throw_away"
COMPLETE = {
    "scheme": NAME,
    "source": {"project": "Nobody"},
    "oracle": "conformance.oracle.ggml",
    "adversarial": ["ties"],
    "mutants": [{"id": f"throw-away-{n}", "change": "a change"} for n in range(3)],
    "clauses": [{"id": "THROW-C1", "text": "A sentence that defines it."}],
    "no_third_party": "It is thrown away.",
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(SCHEMES, NAME, replace(SCHEMES["ggml/q4_0"], name=NAME))
    assert NAME in {found.name for found in refquant.schemes()}


def entry(tmp_path, **changes):
    """The complete entry with changes, as the ledger would read it."""
    text = json.dumps([{k: v for k, v in (COMPLETE | changes).items() if v is not None}])
    (tmp_path / "ggml.json").write_text(text, "utf-8")
    ((found,),) = evidence.entries(tmp_path).values()
    return found


def test_it_needs_an_entry_in_the_ledger():
    with pytest.raises(AssertionError, match="has no evidence: add an entry"):
        test_evidence.test_every_scheme_has_an_entry(NAME)


def test_it_needs_a_page():
    made = {path.name: path for path, _ in scheme_pages.pages()}
    assert not made["ggml__throw_away.md"].exists()  # `spec/generate.py --check` fails for it


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("oracle", "missing required field `oracle`"),
        ("adversarial", "missing required field `adversarial`"),
        ("mutants", "missing required field `mutants`"),
        ("clauses", "missing required field `clauses`"),
    ],
)
def test_its_entry_needs_every_part(part, words, tmp_path):
    assert entry(tmp_path).scheme == NAME
    with pytest.raises(msgspec.ValidationError, match=words):
        entry(tmp_path, **{part: None})


def test_two_mutants_and_no_adversarial_cases_are_too_few(tmp_path):
    with pytest.raises(msgspec.ValidationError, match="length >= 3"):
        entry(tmp_path, mutants=COMPLETE["mutants"][:2])
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        entry(tmp_path, adversarial=[])


def test_what_the_entry_names_has_to_exist(tmp_path):
    with pytest.raises(ModuleNotFoundError):
        test_evidence.test_oracles_exist(entry(tmp_path, oracle="conformance.oracle.throw_away"))
    with pytest.raises(AssertionError, match="has no throw-away-0"):
        test_evidence.test_mutants_are_those_of_the_code(entry(tmp_path))
    wishes = entry(tmp_path, adversarial=["ties", "wishes"])
    with pytest.raises(AssertionError, match=r"has no cases \['wishes'\]"):
        test_evidence.test_adversarial_cases_are_those_that_users_get(wishes)
    with pytest.raises(AssertionError):
        test_evidence.test_third_parties_or_the_reason_why_not(entry(tmp_path, no_third_party=""))


def test_mutants_of_another_scheme_are_none_of_its_own(tmp_path):
    borrowed = [{"id": f"q40-{n}", "change": "a change"} for n in ("even", "last", "magnitude")]
    with pytest.raises(AssertionError, match="has 0 mutants of its own"):
        test_evidence.test_mutants_are_those_of_the_code(entry(tmp_path, mutants=borrowed))


def test_a_third_party_has_to_have_been_compared_with(tmp_path, monkeypatch):
    third = {"package": "ggml-python", "version": "0.0.45", "decode": True, "encode": True}
    found = entry(tmp_path, third_party=[third], no_third_party="")
    monkeypatch.setattr(comparison_table, "ledger", lambda: {NAME: found})
    with pytest.raises(AssertionError, match="not compared"):
        test_comparisons.test_every_claim_was_kept_by_a_recorded_run(NAME, found.third_party[0])
