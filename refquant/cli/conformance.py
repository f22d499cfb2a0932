"""`refquant conformance`: the suite of cases put to an engine, and what comes out of that."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from refquant.cli.output import emit_json, print_table

__all__ = ["conformance"]

conformance = App(
    name="conformance",
    group_parameters="Options",
    help="""Test an engine in any language, and name its mistakes.

An engine is a program that reads requests from its standard input and answers on its standard
output; `refquant conformance guide` shows how to write the adapter. Reports are written with --json
FILE, --junit FILE and --html FILE. The exit status is 0 if nothing failed, 1 if something did or
the run is no evidence.

For example:
  refquant conformance list decode/ggml
  refquant conformance run --engine './my-adapter' --smoke
  refquant conformance run --engine './my-adapter' --html report.html
  refquant conformance replay ggml-q4_0.decode.every-code --engine './my-adapter'
""",
)

Suite = Annotated[str | None, Parameter(help="The folder of the suite, if not the own one.")]
EngineOption = Annotated[
    str | None, Parameter(help="The command of an engine that answers on standard output.")
]
ExecOption = Annotated[
    str | None, Parameter(help="A command that is run once a case, with {dir} for its folder.")
]
Features = Annotated[
    str | None, Parameter(help="What an engine run once a case can do: names with commas.")
]
Scale = Annotated[float, Parameter(help="Multiply every time limit by this.")]
Memory = Annotated[str, Parameter(help="What an engine may allocate, such as 4GB.")]
Ids = Annotated[str, Parameter(help="Ids of cases or names of packs; * stands for anything.")]


@conformance.command(name="list")
def list_cases(
    *ids: Ids,
    suite: Suite = None,
    feature: Annotated[str | None, Parameter(help="Only cases that need this feature.")] = None,
    smoke: Annotated[
        bool, Parameter(help="Only the smallest set that tells all mistakes.")
    ] = False,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of a table.")] = False,
) -> int:
    """List packs, or the cases whose id or pack matches.

    For example:
      refquant conformance list
      refquant conformance list 'ggml-q4_0.*'
    """
    from refquant.conformance.selection import find_suite, select

    found = select(find_suite(suite), ids, smoke=smoke, feature=feature)
    if json:
        cases = [
            {"id": c.id, "digest": c.digest, "pack": p.pack, "op": c.op, "features": c.features}
            for p in found.packs
            for c in p.cases
        ]
        emit_json("conformance-list", {"suite": found.suite.suite, "cases": cases})
    elif found.partial or smoke:
        rows = [(c.id, c.digest[:8], c.op, c.why) for p in found.packs for c in p.cases]
        print_table(("case", "digest", "op", "why"), rows)
    else:
        packs = [(p.pack, len(p.cases), p.title) for p in found.packs]
        print_table(
            ("pack", "cases", "about"), packs, numeric=(1,), footer=("", found.expected, "")
        )
    return 0


@conformance.command
def guide(
    *,
    protocol: Annotated[
        bool, Parameter(help="Print the protocol and the rules of comparison.")
    ] = False,
    folder: Annotated[
        bool, Parameter(help="Print only where the suite is: kits, packs and pages.")
    ] = False,
    suite: Suite = None,
) -> int:
    """Print how to write an adapter for an engine.

    For example:
      refquant conformance guide | less
      cc -I "$(refquant conformance guide --folder)/kits/c" -o toy toy.c -lm
    """
    from refquant.conformance.selection import find_suite

    root = find_suite(suite)
    page = root / ("SPEC.md" if protocol else "README.md")
    print(root if folder else page.read_text("utf-8"), end="\n" if folder else "")
    return 0


@conformance.command
def run(  # noqa: PLR0913 - a command line has as many options as it has
    *ids: Ids,
    engine: EngineOption = None,
    engine_exec: ExecOption = None,
    features: Features = None,
    suite: Suite = None,
    smoke: Annotated[
        bool, Parameter(help="Only the smallest set that tells all mistakes.")
    ] = False,
    seed: Annotated[int, Parameter(help="The order of the cases follows from it.")] = 0,
    expect: Annotated[Path | None, Parameter(help="Failures that are known: expect.toml.")] = None,
    timeout_scale: Scale = 1.0,
    memory: Memory = "4GB",
    json: Annotated[Path | None, Parameter(help="Write the report here as JSON.")] = None,
    junit: Annotated[Path | None, Parameter(help="Write it here as JUnit's XML.")] = None,
    html: Annotated[Path | None, Parameter(help="Write it here as one page.")] = None,
    badge: Annotated[Path | None, Parameter(help="Write a badge here as SVG.")] = None,
    quiet: Annotated[bool, Parameter(help="Print the summary only.")] = False,
) -> int:
    """Put the cases to an engine and judge its answers.

    For example:
      refquant conformance run --engine 'python -m refquant.conformance.reference'
      refquant conformance run 'decode/*' --engine './my-adapter' --json report.json
    """
    from refquant.cli.conformance_runs import Reports, run_engine

    reports = Reports(json, junit, html, badge)
    return run_engine(
        ids,
        (engine, engine_exec, features),
        suite=suite,
        smoke=smoke,
        seed=seed,
        expect=expect,
        limits=(timeout_scale, memory),
        reports=reports,
        quiet=quiet,
    )


@conformance.command
def show(
    name: Annotated[str, Parameter(help="The id of a case, with or without @digest.")],
    /,
    *,
    suite: Suite = None,
    hex: Annotated[bool, Parameter(help="Show the bytes of every array.")] = False,  # noqa: A002
    json: Annotated[bool, Parameter(help="Print the case as it stands in its pack.")] = False,
) -> int:
    """Show what one case asks and what must come out.

    For example:
      refquant conformance show ggml-q4_0.decode.every-code --hex
    """
    from refquant.cli.conformance_runs import show_case

    return show_case(name, suite, with_bytes=hex, as_json=json)


@conformance.command
def replay(
    name: Annotated[str, Parameter(help="The id of a case, with or without @digest.")],
    /,
    *,
    engine: EngineOption = None,
    engine_exec: ExecOption = None,
    suite: Suite = None,
    timeout_scale: Scale = 1.0,
    memory: Memory = "4GB",
) -> int:
    """Run one case alone and print what differs, byte by byte.

    For example:
      refquant conformance replay ggml-q4_0.decode.every-code --engine './my-adapter'
    """
    from refquant.cli.conformance_runs import replay_case

    return replay_case(name, (engine, engine_exec, None), suite, (timeout_scale, memory))


@conformance.command
def diagnose(
    report: Annotated[Path, Parameter(help="A report that `run --json` wrote.")],
    /,
    *,
    suite: Suite = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Name the known mistakes that an engine's wrong outputs look like.

    For example:
      refquant conformance diagnose report.json
    """
    from refquant.cli.conformance_tools import diagnose_report

    return diagnose_report(report, suite, as_json=json)


@conformance.command(name="report")
def make_report(
    reports: Annotated[list[Path], Parameter(help="Reports that `run --json` wrote.")],
    /,
    *,
    junit: Annotated[Path | None, Parameter(help="Write the only one here as JUnit's XML.")] = None,
    html: Annotated[Path | None, Parameter(help="Write the only one here as one page.")] = None,
    badge: Annotated[Path | None, Parameter(help="Write its badge here as SVG.")] = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of a table.")] = False,
) -> int:
    """Print reports side by side, or turn one into another form.

    For example:
      refquant conformance report a.json b.json
      refquant conformance report a.json --html a.html --junit a.xml
    """
    from refquant.cli.conformance_tools import print_reports

    return print_reports(reports, (junit, html, badge), as_json=json)


@conformance.command(name="diff")
def show_differences(
    before: Annotated[Path, Parameter(help="A report.")],
    after: Annotated[Path, Parameter(help="A later one.")],
    /,
    *,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of a table.")] = False,
) -> int:
    """Show the cases whose result changed between two reports; status 1 if one became worse.

    For example:
      refquant conformance diff monday.json tuesday.json
    """
    from refquant.cli.conformance_tools import print_differences

    return print_differences(before, after, as_json=json)


@conformance.command
def export(
    output: Annotated[Path, Parameter(help="The file to write.")],
    /,
    *ids: Ids,
    to: Annotated[
        str | None,
        Parameter(help="npz, c-header, memh, rust, js or zip; by the file's ending if not given."),
    ] = None,
    suite: Suite = None,
    smoke: Annotated[
        bool, Parameter(help="Only the smallest set that tells all mistakes.")
    ] = False,
) -> int:
    """Write cases in a form that a test framework embeds.

    For example:
      refquant conformance export vectors.h 'ggml-q4_0.decode.*'
      refquant conformance export vectors.zip --to zip
    """
    from refquant.cli.conformance_tools import export_cases

    return export_cases(output, ids, to, suite, smoke=smoke)


@conformance.command
def mutate(
    *,
    survivors: Annotated[
        bool, Parameter(help="Only print mutants that too few cases kill.")
    ] = False,
    ledger: Annotated[bool, Parameter(help="Only print how many are killed.")] = False,
) -> int:
    """Run every known mistake on every case again (in a checkout), or say what that came to.

    For example:
      refquant conformance mutate --survivors
    """
    from refquant.cli.conformance_tools import run_in_checkout

    flags = ["--survivors"] * survivors + ["--ledger"] * ledger
    return run_in_checkout("conformance.generators.kill_matrix", flags)


@conformance.command
def gen(
    *packs: Annotated[str, Parameter(help="Names of packs; all of them otherwise.")],
    check: Annotated[bool, Parameter(help="Write nothing; status 1 where a file differs.")] = False,
) -> int:
    """Make the packs anew (in a checkout), each byte computed by two oracles.

    For example:
      refquant conformance gen --check
    """
    from refquant.cli.conformance_tools import run_in_checkout

    return run_in_checkout("conformance.generators", [*packs, *["--check"] * check])


@conformance.command
def serve(
    *ids: Ids,
    port: Annotated[int, Parameter(help="Where to listen, on this machine only.")] = 8765,
    suite: Suite = None,
    smoke: Annotated[
        bool, Parameter(help="Only the smallest set that tells all mistakes.")
    ] = False,
    json: Annotated[Path | None, Parameter(help="Write each report here.")] = None,
) -> int:
    """Serve the cases over HTTP, for engines that run in a browser or on a phone.

    For example:
      refquant conformance serve 'decode/*' --port 8765
    """
    from refquant.cli.conformance_tools import serve_cases

    return serve_cases(ids, port, suite, smoke=smoke, report=json)
