"""The smoke pack: the fewest cases that together tell every known mistake, found greedily.

Whole models, functions of a model and whole tables are left to the full suite: an engine would load
its whole runtime, or write megabytes, for the one case that tells a mistake, and smoke is run after
every build.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.generators.writer import PackWriter
from refquant.conformance.packs import Case, Pack

__all__ = ["chosen", "is_quick", "kept_matrix", "smoke_pack"]

NAME = "smoke"


def chosen(kills: Mapping[str, Sequence[str]], cost: Mapping[str, int]) -> list[str]:
    """Cases that cover all mutants: the next is the one that tells most of those left.

    Of several the cheapest, by the bytes of its arrays, and of those the first by name.
    """
    told: dict[str, set[str]] = {}
    for mutant, cases in kills.items():
        for case in cases:
            told.setdefault(case, set()).add(mutant)
    left, picked = {mutant for mutant, cases in kills.items() if cases}, []
    while left:
        best = min(told, key=lambda case: (-len(told[case] & left), cost[case], case))
        picked.append(best)
        left -= told.pop(best)
    return sorted(picked)


def is_quick(case: Case) -> bool:
    """Whether a case may be in the smoke pack."""
    tables = (one.cmp is not None and one.cmp.name == "digest" for one in case.outputs)
    return case.op not in ("model", "function") and not any(tables)


def smoke_pack(packs: Sequence[Pack], matrix: Mapping[str, Any]) -> Pack:
    """The smoke pack: copies of the chosen cases."""
    place = {case.id: (pack, case) for pack in packs for case in pack.cases if is_quick(case)}
    cost = {
        name: sum(one.nbytes for one in (*case.inputs, *case.outputs))
        for name, (_, case) in place.items()
    }
    kills = {
        name: [case for case in entry["kills"] if case in place] for name, entry in matrix.items()
    }
    writer = PackWriter(NAME, "the fewest cases that together tell every known mistake")
    for name in chosen(kills, cost):
        writer.again(*place[name])
    return writer.made()


def kept_matrix(folder: Path) -> Mapping[str, Any]:
    """The kill matrix that is kept, or nothing."""
    path = folder / "generated" / "kill_matrix.json"
    if not path.is_file():
        return {}
    found: Mapping[str, Any] = json.loads(path.read_bytes())["mutants"]
    return found
