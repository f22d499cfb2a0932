"""Every scheme has independent evidence, written down in the ledger."""

import importlib
import re
import tomllib

import pytest

from conformance import evidence
from conformance.mutants.schemes.every import MUTANTS
from refquant.schemes import FAMILIES, SCHEMES, schemes_with_codebooks
from refquant.schemes.codebooks import CODEBOOKS
from refquant.testing import cases_of
from tests.house import sources
from tools.oracles import ORACLES

ENTRIES = evidence.entries()
EVERY = [pytest.param(e, id=e.scheme) for group in ENTRIES.values() for e in group]
NAMES = [scheme.name for scheme in schemes_with_codebooks()]


def test_the_schema_is_fresh(repository):
    recorded = (repository / "conformance/registry/evidence.schema.json").read_text("utf-8")
    assert recorded == evidence.schema(), "run `python -m conformance.evidence`"


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_has_an_entry(name):
    namespace = name.partition("/")[0]
    place = f"conformance/registry/evidence/{namespace}.json"
    assert evidence.entry_of(name) is not None, f"{name} has no evidence: add an entry to {place}"


@pytest.mark.parametrize("entry", EVERY)
def test_entries_belong_to_schemes(entry):
    assert entry.scheme in {*SCHEMES, *FAMILIES, *CODEBOOKS}, "no such scheme"
    assert entry in ENTRIES[entry.scheme.partition("/")[0]], "in the file of another namespace"


@pytest.mark.parametrize("entry", EVERY)
def test_oracles_exist(entry):
    module, _, function = entry.oracle.partition(":")
    found = importlib.import_module(module)
    assert not function or callable(getattr(found, function))


@pytest.mark.parametrize("entry", EVERY)
def test_oracles_are_asked_by_a_test(entry):
    name = entry.oracle.partition(":")[0].rpartition(".")[2]
    asks = re.compile(rf"conformance\.oracle(\.| import .*\b){name}\b")
    tests = sources.REPOSITORY / "tests"
    assert any(asks.search(path.read_text("utf-8")) for path in tests.rglob("*.py"))


@pytest.mark.parametrize("entry", EVERY)
def test_third_parties_or_the_reason_why_not(entry):
    assert bool(entry.third_party) != bool(entry.no_third_party)


def pins():
    """Packages that tests compare with, at the versions that are installed for it."""
    settings = tomllib.loads((sources.REPOSITORY / "pyproject.toml").read_text("utf-8"))
    listed = [*settings["project"]["optional-dependencies"]["test"]]
    listed += [r for oracle in ORACLES.values() for r in oracle.requirements]
    return {r.replace("_", "-") for r in listed if "==" in r}


@pytest.mark.parametrize("entry", EVERY)
def test_third_parties_are_pinned(entry):
    for third in entry.third_party:
        # NumPy is what we run on: whichever version that is, its conversions are compared with.
        if third.package == "numpy":
            continue
        pin = f"{third.package.replace('_', '-')}=={third.version}"
        assert pin in {re.sub(r"\[.*\]", "", known) for known in pins()}, pin


@pytest.mark.parametrize("entry", EVERY)
def test_mutants_are_those_of_the_code(entry):
    known = {mutant.id: mutant for mutant in MUTANTS}
    for row in entry.mutants:
        assert row.id in known, f"conformance/mutants/schemes has no {row.id}"
    built = {m.id for m in MUTANTS if m.scheme_name.partition("[")[0] == entry.scheme}
    listed = {row.id for row in entry.mutants}
    assert built <= listed, f"in the code but not in the ledger: {sorted(built - listed)}"
    assert len(built) >= 3, f"{entry.scheme} has {len(built)} mutants of its own, expected three"


@pytest.mark.parametrize("entry", EVERY)
def test_adversarial_cases_are_those_that_users_get(entry):
    kinds = {case.kind.removeprefix("encode ") for case in cases_of(entry.scheme)}
    unknown = sorted(set(entry.adversarial) - kinds)
    assert not unknown, f"refquant.testing has no cases {unknown}"


def test_ids_are_unique():
    clauses = [clause.id for group in ENTRIES.values() for e in group for clause in e.clauses]
    assert len(set(clauses)) == len(clauses)
    schemes = [e.scheme for group in ENTRIES.values() for e in group]
    assert len(set(schemes)) == len(schemes)
    mutants = [mutant.id for mutant in MUTANTS]
    assert len(set(mutants)) == len(mutants)
