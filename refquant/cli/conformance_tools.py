"""What `refquant conformance` does with reports and packs, apart from running engines."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import refquant
from refquant.cli.conformance_runs import Reports, summary
from refquant.cli.output import emit_json, print_table, printable
from refquant.errors import UsageError

__all__ = [
    "diagnose_report",
    "export_cases",
    "print_differences",
    "print_reports",
    "run_in_checkout",
    "serve_cases",
]

ORACLES_USE = ("gguf", "gmpy2")
"""Packages that the second oracles use and refquant alone does not need."""


def diagnose_report(path: Path, suite: str | None, *, as_json: bool) -> int:
    """The work of `diagnose`."""
    from refquant.conformance.diagnosis import diagnosed
    from refquant.conformance.results import read_report
    from refquant.conformance.selection import find_suite

    report = diagnosed(read_report(path), find_suite(suite))
    failed = [one for one in report.results if one.result == "fail"]
    named = Counter(one.diagnosis[0] for one in failed if one.diagnosis)
    nameless = [one.id for one in failed if not one.diagnosis]
    if as_json:
        mistakes = [{"mistake": words, "cases": count} for words, count in named.most_common()]
        emit_json("conformance-diagnose", {"mistakes": mistakes, "nameless": nameless})
    elif failed:
        if named:
            rows = [(n, w) for w, n in named.most_common()]
            print_table(("cases", "looks like"), rows, numeric=(0,))
        print(f"{len(nameless)} of {len(failed)} failures look like nothing that is known")
    else:
        print("nothing failed")
    return 1 if failed else 0


def print_reports(
    paths: Sequence[Path],
    files: tuple[Path | None, Path | None, Path | None],
    *,
    as_json: bool,
) -> int:
    """The work of `report`."""
    from refquant.conformance.results import RESULTS, read_report

    reports = [read_report(path) for path in paths]
    junit, html, badge = files
    if any(files):
        if len(reports) != 1:
            raise UsageError("--junit, --html and --badge take one report")
        Reports(None, junit, html, badge).write(reports[0])
    names = [name for name in RESULTS if any(one.counts.get(name) for one in reports)]
    if as_json:
        rows = [{"engine": one.engine, "counts": one.counts, "ok": one.passed} for one in reports]
        emit_json("conformance-report", {"reports": rows})
    elif len(reports) == 1:
        summary(reports[0])
    else:
        table = [
            (one.engine["name"], one.engine["version"], *(one.counts.get(n, 0) for n in names))
            for one in reports
        ]
        print_table(("engine", "version", *names), table, numeric=range(2, 2 + len(names)))
    return 0 if all(one.passed for one in reports) else 1


def print_differences(before: Path, after: Path, *, as_json: bool) -> int:
    """The work of `diff`."""
    from refquant.conformance.results import BAD, read_report

    old = {one.id: one for one in read_report(before).results}
    new = {one.id: one for one in read_report(after).results}
    rows = []
    for name in sorted({*old, *new}):
        left = old[name].result if name in old else "absent"
        right = new[name].result if name in new else "absent"
        changed = name in old and name in new and old[name].digest != new[name].digest
        if left != right or changed:
            rows.append((name, left, right, "another case" if changed else ""))
    worse = [row for row in rows if row[2] in BAD and row[1] not in BAD]
    if as_json:
        keys = ("id", "before", "after", "note")
        changes = [dict(zip(keys, row, strict=True)) for row in rows]
        emit_json("conformance-diff", {"changes": changes, "worse": len(worse)})
    elif rows:
        print_table(("case", "before", "after", ""), rows)
    else:
        print("no result changed")
    return 1 if worse else 0


def export_cases(
    output: Path, ids: Sequence[str], to: str | None, suite: str | None, *, smoke: bool
) -> int:
    """The work of `export`."""
    from refquant.conformance.export import ENDINGS, FORMS, exported
    from refquant.conformance.selection import find_suite, select
    from refquant.conformance.whole_files import write_whole

    form = to or ENDINGS.get(output.suffix, "")
    if form not in FORMS:
        what = f"--to {to}" if to else f"{output.name}: its ending is no known form; --to"
        raise UsageError(f"{what}: expected one of {', '.join(FORMS)}")
    found = select(find_suite(suite), ids, smoke=smoke)
    content = exported(found, form)
    write_whole(output, content)
    print(printable(f"{output}: {found.expected} cases as {form}, {len(content)} bytes"))
    return 0


def run_in_checkout(module: str, flags: Sequence[str]) -> int:
    """A module of the checkout's `conformance` folder, which an installation does not have."""
    root = Path(refquant.__file__).parents[1]
    if not (root / "conformance" / "generators").is_dir():
        raise UsageError(
            "what writes and checks the cases is in a checkout of the repository, not in the "
            "package; there, `make` and then `refquant conformance gen --check` do it. The cases "
            "themselves are installed: `refquant conformance run`"
        )
    missing = [name for name in ORACLES_USE if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"writing and checking the cases needs {' and '.join(missing)}; "
            "run `make`, or pip install -e '.[test]' in the checkout"
        )
    return subprocess.run([sys.executable, "-m", module, *flags], cwd=root, check=False).returncode


def serve_cases(
    ids: Sequence[str], port: int, suite: str | None, *, smoke: bool, report: Path | None
) -> int:
    """The work of `serve`."""
    from refquant.conformance.selection import find_suite, select
    from refquant.conformance.serve import listen

    if not 0 <= port < 1 << 16:
        raise UsageError(f"--port {port}: expected 0 to 65535; 0 takes one that is free")
    Reports(report).check()
    found = select(find_suite(suite), ids, smoke=smoke)
    try:
        server = listen(found, port, report)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror or error}") from error
    print(f"{found.expected} cases at http://127.0.0.1:{server.server_port}/hello; Ctrl-C ends it")
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return 0
