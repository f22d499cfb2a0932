"""The ledger of all schemes side by side: how each rounds, and what speaks for it."""

import json
from pathlib import Path

from conformance.evidence import Entry, entry_of
from refquant.schemes import schemes_with_codebooks
from spec.markdown import table

__all__ = ["CATALOGUE", "catalogue", "evidence", "numerics"]

CATALOGUE = Path(__file__).resolve().parent.parent / "conformance" / "registry" / "catalogue.json"

COLUMNS = ("quotient", "scale", "rounding", "zero_point", "range", "all-zero group", "NaN")


def _entries() -> list[tuple[str, str, Entry]]:
    """Name, link and entry of each scheme that has one."""
    found = []
    for scheme in schemes_with_codebooks():
        name = scheme.name.partition("[")[0]
        entry = entry_of(scheme.name)
        if entry is not None:
            found.append((name, f"[`{name}`](schemes/{name.replace('/', '__')}.md)", entry))
    return sorted(found, key=lambda row: row[0])


def numerics() -> str:
    """One row a scheme: the steps in which contracts differ."""
    rows = []
    for _, link, entry in _entries():
        rules = dict(entry.numerics)
        if "ties" in rules and "rounding" in rules:
            rules["rounding"] = f"{rules['rounding']}; {rules['ties']}"
        if rules.get("infinities") not in (None, rules.get("NaN")):
            rules["NaN"] = f"{rules.get('NaN', '')}; infinities {rules['infinities']}"
        rows.append((link, *(rules.get(column, "") for column in COLUMNS)))
    return table(("scheme", *COLUMNS[:-1], "NaN and infinities"), rows)


def evidence() -> str:
    """One row a scheme: clauses, mutants, and whose code it was compared with."""
    rows = []
    for _, link, entry in _entries():
        others = ", ".join(
            f"{third.package} {third.version}"
            + (f" ({len(third.known_differences)} known)" if third.known_differences else "")
            for third in entry.third_party
        )
        rows.append(
            (
                link,
                str(len(entry.clauses)),
                str(len(entry.mutants)),
                others or "nobody: " + entry.no_third_party,
            )
        )
    return table(("scheme", "clauses", "mutants", "compared with"), rows)


def catalogue() -> str:
    """One row a contract: whose it is, what it is called here, and whose code was compared."""
    rows = []
    for row in json.loads(CATALOGUE.read_text("utf-8")):
        names = [*row.get("schemes", ()), *(f"{f}()" for f in row.get("functions", ()))]
        found = [entry_of(name) for name in row.get("schemes", ())]
        others = [f"{t.package} {t.version}" for e in found if e is not None for t in e.third_party]
        others += [f"`{test}`" for test in row.get("tests", ())]
        shown = ", ".join(dict.fromkeys(others)) or "nobody; the page says why"
        called = ", ".join(f"`{name.replace(':', '.')}`" for name in names)
        rows.append((row["of"], row["contract"], called, shown))
    return table(("of", "contract", "called here", "compared with"), rows)
