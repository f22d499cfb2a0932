"""Which case tells which known mistake from the right thing, and by which output.

    python -m conformance.generators.kill_matrix              write conformance/generated
    python -m conformance.generators.kill_matrix --check      status 1 where it would differ
    python -m conformance.generators.kill_matrix --survivors  print mutants that no two groups kill
    python -m conformance.generators.kill_matrix --ledger     one line about what is kept

A mutant is run on every case of its scheme or operation. Two cases are of different groups where
they stand in different packs.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conformance.generators.equivalents import EQUIVALENT
from conformance.generators.scalar import scalar_encoder
from conformance.mutants.every import OPERATION_MUTANTS
from refquant.conformance.exchange import Written
from refquant.conformance.judge import judge
from refquant.conformance.operations import Arrays, Task, fitted, perform
from refquant.conformance.packs import DTYPES, Case, Pack, read_suite
from refquant.conformance.replies import Hello, Reply
from refquant.driver import Scheme
from refquant.errors import FormatError, UnsupportedError
from refquant.schemes import scheme as find_scheme
from tests.mutants.every import MUTANTS

__all__ = ["kill_matrix", "ledger_line", "survivors"]

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
    for mutant in MUTANTS:
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
        entry: dict[str, Any] = {"change": mutant.change, "kills": kills, "of": mutant.op}
        if mutant.link:
            entry["link"] = mutant.link
        yield mutant.id, entry


def why_outside(name: str) -> str:
    """Why the suite has no case about a mutant's mistake, or an empty text where it has."""
    mutant = next((one for one in MUTANTS if one.id == name), None)
    if mutant is None:
        return ""
    scheme = find_scheme(mutant.scheme_name)
    if scheme.operators:
        return "planes are gathered before a layout reads them; the suite has no such operation"
    if scalar_encoder(scheme) is None:
        return "no scalar encoder agrees with this search within the time a generator has"
    return ""


def kill_matrix(packs: Sequence[Pack]) -> Matrix:
    """Every mutant with the cases that kill it."""
    cases = [(pack, case) for pack in packs for case in pack.cases]
    found = dict([*_scheme_mutants(cases), *_operation_mutants(cases)])
    for name, entry in found.items():
        if not entry["kills"] and (reason := why_outside(name)):
            entry["outside"] = reason
    for name, reason in EQUIVALENT.items():
        found[name]["equivalent"] = reason
    return dict(sorted(found.items()))


def survivors(matrix: Mapping[str, Mapping[str, Any]], packs: Sequence[Pack]) -> list[str]:
    """Mutants that fewer than two groups kill, and equivalents that are none."""
    pack_of = {case.id: pack.pack for pack in packs for case in pack.cases}
    weak = []
    for name, entry in matrix.items():
        if entry.get("outside"):
            continue
        groups = {pack_of[one] for one in entry["kills"] if one in pack_of}
        if entry.get("equivalent"):
            if groups:
                weak.append(f"{name}: called equivalent, and {min(entry['kills'])} kills it")
        elif len(groups) < 2:
            weak.append(f"{name} ({entry['of']}: {entry['change']}): killed in {sorted(groups)}")
    return weak


def ledger_line(matrix: Mapping[str, Mapping[str, Any]], weak: Sequence[str]) -> str:
    """What `make check` prints."""
    equivalent = sum(bool(entry.get("equivalent")) for entry in matrix.values())
    outside = sum(bool(entry.get("outside")) for entry in matrix.values())
    total = len(matrix) - equivalent - outside
    return (
        f"conformance: kills {total - len(weak)}/{total} known mistakes, each in two groups; "
        f"{equivalent} equivalents justified, {outside} mistakes concern what has no cases yet"
    )


def contents(matrix: Matrix) -> bytes:
    """The file: one mutant a line."""
    lines = [
        f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}"
        for name, entry in matrix.items()
    ]
    return ('{"mutants":{\n' + ",\n".join(lines) + "\n}}\n").encode()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--survivors", action="store_true", help="of what is kept")
    parser.add_argument("--ledger", action="store_true", help="of what is kept")
    options = parser.parse_args()
    _, packs = read_suite(FOLDER)
    if options.survivors or options.ledger:
        matrix = json.loads(KEPT.read_bytes())["mutants"]
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
    print("\n".join([*([] if options.ledger else weak), ledger_line(matrix, weak)]))
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
