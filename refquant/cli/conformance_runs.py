"""Running engines for `refquant conformance`, and printing what became of the cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refquant.cli.garbage import none_while_importing
from refquant.cli.output import print_pairs, printable
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.conformance.packs import Array, Pack
    from refquant.conformance.replies import Limits
    from refquant.conformance.results import CaseResult, Report
    from refquant.conformance.runner import Engine

__all__ = ["Reports", "replay_case", "run_engine", "show_case", "summary"]

Commands = tuple[str | None, str | None, str | None]
SHOWN = 20
MOST_PATIENT = 1000
LEAST_MEMORY, MOST_MEMORY = 16_000_000, 10**15


@dataclass(frozen=True, slots=True)
class Reports:
    """Files that a report is written to."""

    json: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    badge: Path | None = None

    def check(self) -> None:
        """UsageError where one cannot be written, before a run that takes minutes."""
        for path in filter(None, (self.json, self.junit, self.html, self.badge)):
            if not path.parent.is_dir():
                raise UsageError(f"{path}: there is no folder {path.parent}")
            if path.is_dir():
                raise UsageError(f"cannot write {path}: it is a folder; name a file in it")

    def write(self, report: "Report") -> None:
        """Write those that were asked for."""
        if self.json:
            report.write(self.json)
        if self.junit:
            from refquant.conformance.junit import junit_xml

            _write(self.junit, junit_xml(report))
        if self.html:
            from refquant.conformance.html import html_page

            _write(self.html, html_page(report))
        if self.badge:
            from refquant.conformance.badge import badge_svg

            _write(self.badge, badge_svg(report))


def _write(path: Path, text: str) -> None:
    from refquant.conformance.whole_files import write_whole

    write_whole(path, text.encode("utf-8", errors="backslashreplace"))


def engine_of(commands: Commands, limits: "Limits") -> "Engine":
    """The engine that the options name; UsageError where they name none or two."""
    lines, once, features = commands
    if lines is not None and once is not None:
        raise UsageError("give one engine: --engine 'CMD' or --engine-exec 'CMD {dir}', not both")
    if lines is None and once is None:
        raise UsageError("give the engine's command: --engine 'CMD' or --engine-exec 'CMD {dir}'")
    if lines is not None:
        from refquant.conformance.line_engine import LineEngine

        return LineEngine(lines, limits)
    from refquant.conformance.exec_engine import ExecEngine

    declared = tuple(one.strip() for one in (features or "").split(",") if one.strip())
    return ExecEngine(once or "", limits, declared)


def limits_of(scale: float, memory: str) -> "Limits":
    """The limits that the options name."""
    from refquant.cli.destination import parse_bytes
    from refquant.conformance.replies import Limits

    if not 0 < scale <= MOST_PATIENT:
        raise UsageError(f"--timeout-scale {scale}: expected a number above 0, at most 1000")
    allowed = parse_bytes(memory, "--memory")
    if not LEAST_MEMORY <= allowed <= MOST_MEMORY:
        raise UsageError(f"--memory {memory}: expected 16MB to 1000TB; no engine starts in less")
    return Limits(scale=scale, memory=allowed)


def run_engine(  # noqa: PLR0913 - the options of a command
    ids: Sequence[str],
    commands: Commands,
    *,
    suite: str | None,
    smoke: bool,
    seed: int,
    expect: Path | None,
    limits: tuple[float, str],
    reports: Reports,
    quiet: bool,
) -> int:
    """The work of `run`: select, run, diagnose, write, print."""
    reports.check()
    bounds = limits_of(*limits)
    engine = engine_of(commands, bounds)
    engine.begin()  # it starts while the runner is being imported
    try:
        with none_while_importing():
            from refquant.conformance.diagnosis import diagnosed
            from refquant.conformance.runner import Options
            from refquant.conformance.runner import run as run_cases
            from refquant.conformance.selection import find_suite, select
            from refquant.conformance.waivers import read_waivers

        waivers = read_waivers(expect) if expect else ()
        found = select(find_suite(suite), ids, smoke=smoke)
        options = Options.of(found, seed=seed, limits=bounds, waivers=waivers)
        report = run_cases(engine, found.packs, options)
    finally:
        engine.close()
    try:
        report = diagnosed(report, found.root)
    finally:
        # A suite whose list of mistakes is damaged costs their names, not the run.
        reports.write(report)
    summary(report, quiet=quiet)
    return 0 if report.passed else 1


def summary(report: "Report", *, quiet: bool = False) -> None:
    """What a person reads at the end of a run."""
    from refquant.conformance.results import BAD

    bad = [one for one in report.results if one.result in BAD]
    for one in [] if quiet else bad[:SHOWN]:
        print(printable(f"{one.result:9} {one.id}@{one.digest}  {one.detail}"))
        for named in one.diagnosis[:1]:
            print(printable(f"          looks like {named}"))
    if not quiet and len(bad) > SHOWN:
        print(f"... and {len(bad) - SHOWN} more; --json FILE or --html FILE has them all")
    if bad and not quiet:
        first = next((one for one in bad if one.result != "not-run"), bad[0])
        option = report.engine.get("option") or "--engine 'CMD'"
        print(printable(f"again, byte by byte: refquant conformance replay {first.id} {option}"))
    name = f"{report.engine['name']} {report.engine['version']}".strip()
    counts = ", ".join(f"{count} {result}" for result, count in report.counts.items())
    print(printable(f"{name}: {counts}; suite {report.suite}, {report.seconds} s"))
    for problem in report.problems:
        print(printable(f"this run does not count: {problem}"))


def show_case(name: str, suite: str | None, *, with_bytes: bool, as_json: bool) -> int:
    """The work of `show`."""
    from refquant.conformance.diagnosis import read_matrix
    from refquant.conformance.selection import find_case, find_suite, select

    root = find_suite(suite)
    pack, case = find_case(select(root).packs, name)
    if as_json:
        import json

        import msgspec

        print(json.dumps(msgspec.to_builtins(case), indent=2))
        return 0
    known = read_matrix(root).mutants
    print_pairs(
        [
            ("case", f"{case.id}@{case.digest[:8]}"),
            ("pack", pack.pack),
            ("operation", case.op),
            ("why", case.why),
            ("features", ", ".join(case.features)),
            ("parameters", ", ".join(f"{key} {value}" for key, value in case.params.items())),
            ("outcome", f"{case.outcome} {case.code}".strip()),
            ("kills", ", ".join(key for key in known if case.id in known[key].kills) or None),
        ]
    )
    for kind, arrays in (("in", case.inputs), ("out", case.outputs), ("aside", case.aside)):
        for array in arrays:
            rule = f", compared by {array.cmp.name}" if array.cmp else ""
            print(f"{kind:5} {array.name}: {array.dtype} {list(array.shape)}{rule}")
            if with_bytes:
                _print_bytes(pack, array)
    return 0


def _print_bytes(pack: "Pack", array: "Array") -> None:
    raw = pack.array(array).tobytes()
    for start in range(0, len(raw), 16):
        print(f"      {start:06x}  {raw[start : start + 16].hex(' ')}")


def replay_case(name: str, commands: Commands, suite: str | None, limits: tuple[float, str]) -> int:
    """The work of `replay`: the case alone, in a process of its own."""
    from refquant.conformance.diagnosis import diagnosed
    from refquant.conformance.runner import Options
    from refquant.conformance.runner import run as run_cases
    from refquant.conformance.selection import find_case, find_suite, select

    bounds = limits_of(*limits)
    root = find_suite(suite)
    _, case = find_case(select(root).packs, name)
    found = select(root, [case.id])
    engine = engine_of(commands, bounds)
    report = run_cases(engine, found.packs, Options.of(found, limits=bounds))
    report = diagnosed(report, root)
    _print_result(report.results[0])
    return 0 if report.passed else 1


def _print_result(one: "CaseResult") -> None:
    print_pairs([("case", f"{one.id}@{one.digest}"), ("result", one.result)])
    print_pairs([("why", one.why or None), ("detail", one.detail or None)])
    for difference in one.differences:
        print_pairs(
            [
                ("output", difference.output),
                ("problem", difference.note or None),
                ("wrong", difference.different or None),
                ("first at", list(difference.first) if difference.different else None),
                ("found", difference.found or None),
                ("expected", difference.expected or None),
                (f"bytes {difference.offset:#x}", difference.found_bytes or None),
                ("expected", difference.expected_bytes or None),
            ],
            indent=2,
        )
    for named in one.diagnosis:
        print(printable(f"looks like {named}"))
