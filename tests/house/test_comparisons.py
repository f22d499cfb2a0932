"""What the ledger says of comparisons with others was seen in a run, and recorded."""

import pytest

from tests import comparison_table, comparisons
from tests.house import sources

ROWS = comparison_table.current(comparisons.read(comparison_table.RECORD))
CLAIMS = [
    pytest.param(scheme, third, id=f"{scheme} {third.package} {third.version}")
    for scheme, third in comparison_table.claims()
]


@pytest.mark.parametrize(("scheme", "third"), CLAIMS)
def test_every_claim_was_kept_by_a_recorded_run(scheme, third):
    """`make test-all`, then `python -m tests.comparisons build/comparisons.json --record`."""
    row = comparison_table.row_of(comparison_table.joined(ROWS), scheme, third)
    lacks = comparison_table.missing(row, third)
    assert not lacks, f"{scheme} with {third.package} {third.version}: {lacks}"


@pytest.mark.parametrize("test", sorted({row["test"] for row in ROWS}))
def test_rows_come_from_tests_that_compare(test):
    text = (sources.REPOSITORY / test).read_text("utf-8")
    assert "compared.decoded(" in text or "compared.encoded(" in text or "compared(" in text


def test_all_recorded_rows_are_claims():
    assert comparisons.read(comparison_table.RECORD) == ROWS, "record a run again"


@pytest.mark.parametrize(
    ("encoded", "different", "words"),
    [
        (1 << 22, 0, ""),
        ((1 << 22) - 1, 0, "values, expected at least"),
        (1 << 22, 1, "1 values differ without a stated reason"),
    ],
)
def test_too_few_values_and_differences_are_noticed(encoded, different, words):
    _, third = next((s, t) for s, t in comparison_table.claims() if t.encode and t.decode)
    row = {
        what: {"values": encoded, "different": different, "explained": 0}
        for what in ("encode", "decode")
    }
    lacks = comparison_table.missing(row, third)
    assert words in lacks
    assert bool(lacks) == bool(words)
    assert comparison_table.missing(None, third) == "not compared"
