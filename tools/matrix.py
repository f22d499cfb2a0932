"""The suite put to every engine that is there: `make matrix`.

    python tools/matrix.py              run all, write conformance/matrix.json and matrix.html
    python tools/matrix.py mlx torch    run these alone and print, write nothing
    python tools/matrix.py --build      build the environments that are missing first

An engine is an adapter of `conformance/engines` and the interpreter that has its package: this one,
or an environment of `tools/oracles.py`. One that is not there is listed with the reason.
"""

import argparse
import json
import platform
import sys
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from matrix_engines import ADAPTERS, ENGINES, ROOT, build_missing
from matrix_page import page

from refquant.conformance.line_engine import LineEngine
from refquant.conformance.packs import Array, Case
from refquant.conformance.replies import Limits
from refquant.conformance.results import BAD, CaseResult, Report
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import Selection, find_suite, select
from refquant.errors import ConformanceError

__all__ = ["ENGINES", "measured"]


def measured(name: str, chosen: Selection) -> dict[str, Any]:
    """What became of the suite under one engine."""
    reason = ENGINES[name].missing()
    if reason:
        return {"id": name, "absent": reason}
    suite = Options(
        chosen.suite.suite,
        chosen.sha256,
        chosen.expected,
        selected=chosen.partial,
        limits=Limits(scale=6.0),
        root=chosen.root,
    )
    try:
        report = run(LineEngine(ENGINES[name].started(), suite.limits), chosen.packs, suite)
    except ConformanceError as error:
        return {"id": name, "absent": str(error).splitlines()[0]}
    cases = {case.id: case for pack in chosen.packs for case in pack.cases}
    return {
        "id": name,
        **{key: report.engine[key] for key in ("name", "version", "language")},
        "environment": ENGINES[name].environment(),
        "command": ENGINES[name].command(),
        "counts": report.counts,
        "problems": list(report.problems),
        "features": _features(report, cases),
        "deviations": list(_deviations(name, report, cases)),
    }


def _features(report: Report, cases: Mapping[str, Case]) -> dict[str, list[int]]:
    """Cases that passed and that were asked, by feature."""
    found: dict[str, list[int]] = {}
    for one in report.results:
        if one.result != "unsupported":
            counts = found.setdefault(cases[one.id].features[0], [0, 0])
            counts[0] += one.result == "pass"
            counts[1] += 1
    return dict(sorted(found.items()))


def _deviations(name: str, report: Report, cases: Mapping[str, Case]) -> Iterator[dict[str, Any]]:
    """What is known of the cases that failed, each with its smallest case."""
    known = tomllib.loads((ADAPTERS / "deviations.toml").read_text("utf-8"))["deviation"]
    bad = [one for one in report.results if one.result in BAD]
    for entry in known:
        concerned = fnmatchcase(name, entry["engine"])
        matching = [one for one in bad if concerned and _among(one, entry["cases"])]
        if matching:
            bad = [one for one in bad if one not in matching]
            yield _entry(name, entry, matching, cases)
    for one in bad:
        yield _entry(name, {"clause": "", "kind": "unexplained", "why": one.why}, [one], cases)


def _among(one: CaseResult, patterns: list[str]) -> bool:
    return any(fnmatchcase(one.id, pattern) for pattern in patterns)


def _entry(
    name: str, entry: Mapping[str, Any], failed: list[CaseResult], cases: Mapping[str, Case]
) -> dict[str, Any]:
    def size(one: CaseResult) -> int:
        return sum(array.nbytes for array in cases[one.id].inputs)

    least = min(failed, key=lambda one: (size(one), one.id))
    cited = f"{least.id}@{least.digest}"
    return {
        "kind": entry["kind"],
        "clause": entry["clause"],
        "why": entry["why"],
        "cases": len(failed),
        "features": sorted({cases[one.id].features[0] for one in failed}),
        "smallest": cited,
        "input": "; ".join(_described(array) for array in cases[least.id].inputs),
        "detail": least.detail.partition(";")[0],
        "replay": f"refquant conformance replay {cited} --engine '{ENGINES[name].command()}'",
    }


def _described(array: Array) -> str:
    return f"{array.name} {array.dtype}[{', '.join(map(str, array.shape))}]"


def _clauses(engines: list[dict[str, Any]]) -> dict[str, str]:
    """The texts of the clauses that deviations name."""
    named = {
        name
        for one in engines
        for d in one.get("deviations", ())
        for name in d["clause"].split(", ")
    }
    files = sorted((ROOT / "conformance" / "registry" / "evidence").glob("*.json"))
    every = [entry for path in files for entry in json.loads(path.read_text("utf-8"))]
    texts = {one["id"]: one["text"] for entry in every for one in entry["clauses"]}
    return {name: texts[name] for name in sorted(named & set(texts))}


def _machine() -> dict[str, str]:
    """Where the engines ran."""
    libc = " ".join(platform.libc_ver()).strip()
    return {"Run on": f"{platform.system()} {platform.machine()}", "with": libc or "its own libc"}


def _schemes(chosen: Selection) -> dict[str, str]:
    """The names of schemes by the ends of the features that speak of them."""
    cases = [case for pack in chosen.packs for case in pack.cases if "scheme" in case.params]
    return {
        case.features[0].partition(".")[2]: str(case.params["scheme"])
        for case in sorted(cases, key=lambda case: case.id)
    }


def main() -> int:
    """Run, print, and write unless only some were named."""
    parser = argparse.ArgumentParser(description="the suite put to every engine that is there")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--build", action="store_true", help="build missing environments first")
    arguments = parser.parse_args()
    names = arguments.names
    if unknown := set(names) - set(ENGINES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ENGINES)}")
    if arguments.build:
        build_missing(names or ENGINES)
    chosen = select(find_suite(None))
    engines = []
    for name in names or ENGINES:
        one = measured(name, chosen)
        counts = ", ".join(f"{n} {what}" for what, n in one.get("counts", {}).items())
        print(f"{name}: {one.get('absent') or counts}", flush=True)
        for deviation in one.get("deviations", ()):
            print(f"  {deviation['kind']}: {deviation['why']}\n    {deviation['replay']}")
        engines.append(one)
    if not names:
        found = {
            "schema": "refquant.matrix/1",
            "suite": chosen.suite.suite,
            "suite_sha256": chosen.sha256,
            "environment": _machine(),
            "schemes": _schemes(chosen),
            "clauses": _clauses(engines),
            "engines": engines,
        }
        folder = ROOT / "conformance"
        (folder / "matrix.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (folder / "matrix.html").write_text(page(found), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
