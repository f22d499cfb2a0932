"""Every contract of the catalogue has a scheme, and every scheme all of its evidence."""

import importlib
import json

import pytest

import refquant
from conformance import evidence
from conformance.mutants.schemes.every import MUTANTS
from refquant.schemes import schemes_with_codebooks
from spec.ledger_tables import CATALOGUE
from tests.house import sources

ROWS = json.loads(CATALOGUE.read_text("utf-8"))
NAMES = sorted({name for row in ROWS for name in row.get("schemes", ())})
PAGES = sources.REPOSITORY / "spec" / "schemes"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_a_page_an_oracle_cases_mutants_and_a_comparison(name):
    scheme, base = refquant.scheme(name), name.partition("[")[0]
    assert scheme.name == name, "not the canonical spelling"
    assert (PAGES / f"{base.replace('/', '__')}.md").is_file()
    entry = evidence.entry_of(name)
    assert entry is not None
    assert entry.oracle.startswith("conformance.oracle.")
    assert entry.adversarial
    assert entry.clauses
    assert entry.third_party or entry.no_third_party
    built = [mutant for mutant in MUTANTS if mutant.scheme_name.partition("[")[0] == base]
    assert len(built) >= 3


@pytest.mark.parametrize("row", [pytest.param(row, id=row["contract"][:40]) for row in ROWS])
def test_a_contract_is_whole(row):
    assert row.get("schemes") or row.get("functions")
    for name in row.get("schemes", ()):
        scheme = refquant.scheme(name)
        assert scheme.can_encode != row.get("decode_only", False)
        if row.get("importance"):
            assert scheme.encode_weighted is not None
    for place in row.get("functions", ()):
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
        asks = (sources.REPOSITORY / "tests").rglob("test_*.py")
        assert any(function in path.read_text("utf-8") for path in asks)
    for test in row.get("tests", ()):
        assert (sources.REPOSITORY / test).is_file()


def test_no_scheme_is_left_out_but_our_own():
    listed = {name.partition("[")[0] for name in NAMES}
    every = {scheme.name.partition("[")[0] for scheme in schemes_with_codebooks()}
    ours = {"int/affine"}
    siblings = {f"ct/pack{bits}" for bits in (2, 5, 6, 7)}
    assert every - listed - siblings == ours
