"""Which case tells which known mistake from the right thing, and by which output.

    python -m conformance.generators.kill_matrix              write conformance/generated
    python -m conformance.generators.kill_matrix --check      status 1 where it would differ
    python -m conformance.generators.kill_matrix --survivors  print mutants that no two groups kill
    python -m conformance.generators.kill_matrix --ledger     one line about what is kept

A mutant is run on every case of its scheme or operation. Two cases are of different groups where
they stand in different packs and ask different things.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from conformance import reports
from conformance.evidence import entries
from conformance.generators.command import status_of
from conformance.generators.equivalents import EQUIVALENT
from conformance.mutants import builds, onnx_runtime, rivals, shipped
from conformance.mutants import tables as wrong_tables
from conformance.mutants.every import OPERATION_MUTANTS
from conformance.mutants.schemes.every import MUTANTS
from refquant.conformance.diagnosis import KillMatrix, likely
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.exchange import Written
from refquant.conformance.judge import judge
from refquant.conformance.operations import Arrays, Task, fitted, perform
from refquant.conformance.packs import Case, Pack, read_suite
from refquant.conformance.replies import Hello, Reply
from refquant.conformance.results import CaseResult
from refquant.driver import Scheme
from refquant.errors import FormatError, UnsupportedError
from refquant.schemes import scheme as find_scheme

__all__ = ["kill_matrix", "ledger_line", "named", "survivors"]

FOLDER = Path(__file__).resolve().parents[1]
KEPT = FOLDER / "generated" / "kill_matrix.json"
HELLO = Hello("mutant")
Cases = Sequence[tuple[Pack, Case]]
Matrix = dict[str, dict[str, Any]]


def task_of(pack: Pack, case: Case, find: Any = find_scheme) -> Task:
    """A case as a task, its files found beside the suite."""
    params = dict(case.params)
    if "file" in params:
        params["file"] = str(FOLDER / str(params["file"]))
    inputs = {one.name: pack.array(one) for one in case.inputs}
    outputs = {one.name: (DTYPES[one.dtype], one.shape) for one in case.outputs}
    return Task(case.op, params, inputs, outputs, find)


def kill(pack: Pack, case: Case, task: Task, compute: Any = perform) -> str | None:
    """The digest of what a mutant puts out, or None where it passes the case."""
    written = Written()
    try:
        with np.errstate(all="ignore"):
            results: Arrays = fitted(compute(task), task.outputs)
        written.arrays.update({name: np.ascontiguousarray(one) for name, one in results.items()})
        reply = Reply("answer", {"outcome": "ok"})
    except (FormatError, UnsupportedError) as error:
        reply = Reply("answer", {"outcome": "rejected", "code": error.code})
    except Exception as error:  # noqa: BLE001 - a mutant may fail in any way
        reply = Reply("answer", {"outcome": "error", "detail": type(error).__name__})
    result = judge(pack, case, reply, written, HELLO)
    if result.result == "pass":
        return None
    if result.output:
        return result.output
    word = f"{reply.outcome} {reply.code} {reply.data.get('detail', '')}"
    return hashlib.sha256(word.encode()).hexdigest()[:16]


def _scheme_mutants(cases: Cases) -> Iterator[tuple[str, dict[str, Any]]]:
    by_scheme: dict[str, list[tuple[Pack, Case]]] = {}
    for pack, case in cases:
        if "scheme" in case.params:
            by_scheme.setdefault(str(case.params["scheme"]), []).append((pack, case))
    others = (rivals, builds, onnx_runtime, shipped)
    for mutant in chain(MUTANTS, *(one.MUTANTS for one in others), wrong_tables.SCHEMES):
        wrong: Scheme = mutant.build()
        true = find_scheme(mutant.scheme_name).name
        kills = {}
        for pack, case in by_scheme.get(true, []):
            task = task_of(pack, case, lambda _, wrong=wrong: wrong)
            if found := kill(pack, case, task):
                kills[case.id] = found
        yield mutant.id, {"change": mutant.change, "kills": kills, "of": true}


def _operation_mutants(cases: Cases) -> Iterator[tuple[str, dict[str, Any]]]:
    for mutant in OPERATION_MUTANTS:
        kills = {}
        for pack, case in cases:
            concerned = case.op == mutant.op and mutant.concerns(case.params)
            found = kill(pack, case, task_of(pack, case), mutant.compute) if concerned else None
            if found:
                kills[case.id] = found
        yield mutant.id, {"change": mutant.change, "kills": kills, "of": mutant.op}


def _links() -> dict[str, str]:
    """Where somebody shipped a mutant's mistake, as the ledgers of evidence and our table say."""
    rows = [row for group in entries().values() for entry in group for row in entry.mutants]
    ledgers = {row.id: _address(row.shipped_bug) for row in rows if row.shipped_bug}
    return ledgers | reports.links()


def _address(cited: str) -> str:
    """`owner/name#7` as an address, which serves for an issue and a pull request alike."""
    repository, _, number = cited.partition("#")
    return f"https://github.com/{repository}/issues/{number}" if number else cited


def kill_matrix(packs: Sequence[Pack]) -> Matrix:
    """Every mutant with the cases that kill it."""
    cases = [(pack, case) for pack in packs for case in pack.cases]
    found = dict([*_scheme_mutants(cases), *_operation_mutants(cases)])
    for name, link in _links().items():
        if name in found:
            found[name]["link"] = link
    for name, reason in EQUIVALENT.items():
        found[name]["equivalent"] = reason
    return dict(sorted(found.items()))


def survivors(matrix: Mapping[str, Mapping[str, Any]], packs: Sequence[Pack]) -> list[str]:
    """Mutants that fewer than two groups kill, and equivalents that are none.

    The same question asked again in another pack, known by its digest, is no second group.
    """
    place = {case.id: (case.digest, pack.pack) for pack in packs for case in pack.cases}
    weak = []
    for name, entry in matrix.items():
        groups = set(
            {place[one][0]: place[one][1] for one in entry["kills"] if one in place}.values()
        )
        if entry.get("equivalent"):
            if groups:
                weak.append(f"{name}: called equivalent, and {min(entry['kills'])} kills it")
        elif len(groups) < 2:
            weak.append(f"{name} ({entry['of']}: {entry['change']}): killed in {sorted(groups)}")
    return weak


def named(known: KillMatrix, packs: Sequence[Pack]) -> tuple[int, int]:
    """How many known mistakes the diagnosis names, and how many there are.

    An engine with a mistake fails in the cases that tell it, with the mistake's outputs, and passes
    all others; the one name that it gets must be the mistake's. Mistakes whose outputs are the same
    in every case are one.
    """
    every = [case.id for pack in packs for case in pack.cases]
    right = asked = 0
    for mutant in known.mutants.values():
        if mutant.kills:
            results = [
                CaseResult(case, "", "fail", output=mutant.kills[case])
                if case in mutant.kills
                else CaseResult(case, "", "pass")
                for case in every
            ]
            first = {names[0] for names in likely(known, results).values() if names}
            same = {name for name, one in known.mutants.items() if one.kills == mutant.kills}
            asked += 1
            right += len(first) == 1 and first <= same
    return right, asked


def ledger_line(matrix: Mapping[str, Mapping[str, Any]], weak: Sequence[str]) -> str:
    """What `make check` prints."""
    equivalent = sum(bool(entry.get("equivalent")) for entry in matrix.values())
    linked = sum(bool(entry.get("link")) for entry in matrix.values())
    total = len(matrix) - equivalent
    return (
        f"conformance: kills {total - len(weak)}/{total} known mistakes, each in two groups "
        f"({100 * (total - len(weak)) // total} %); {equivalent} equivalents justified, "
        f"{linked} with a public report"
    )


def contents(matrix: Matrix) -> bytes:
    """The file: one mutant a line."""
    lines = [
        f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}"
        for name, entry in matrix.items()
    ]
    return ('{"mutants":{\n' + ",\n".join(lines) + "\n}}\n").encode()


def kept() -> Matrix:
    """The matrix that is kept; FormatError where it is damaged."""
    try:
        found: Matrix = json.loads(KEPT.read_bytes())["mutants"]
    except (ValueError, KeyError) as error:
        message = "it is no kill matrix; `refquant conformance mutate` writes it anew"
        raise FormatError("E_SUITE", message, path=str(KEPT)) from error
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="refquant conformance mutate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--survivors", action="store_true", help="of what is kept")
    parser.add_argument("--ledger", action="store_true", help="of what is kept")
    options = parser.parse_args()
    try:
        _, packs = read_suite(FOLDER)
    except FormatError as error:
        parser.error(f"{error}: make the packs first (`refquant conformance gen`)")
    if options.survivors or options.ledger:
        matrix = kept()
    else:
        matrix = kill_matrix(packs)
        raw = contents(matrix)
        if options.check and raw != KEPT.read_bytes():
            print("conformance/generated/kill_matrix.json is not what the packs and mutants give")
            return 1
        if not options.check:
            KEPT.parent.mkdir(exist_ok=True)
            KEPT.write_bytes(raw)
    weak = survivors(matrix, packs)
    right, asked = named(msgspec.convert({"mutants": matrix}, KillMatrix), packs)
    print("\n".join([*([] if options.ledger else weak), ledger_line(matrix, weak)]))
    print(f"conformance: diagnose names {right}/{asked} of them ({100 * right // asked} %)")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(status_of(main))
