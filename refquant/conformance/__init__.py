"""The conformance suite as a program: reading packs, running engines, judging their answers.

`packs.py` reads what `conformance/SPEC.md` describes, `selection.py` finds it, `runner.py` puts it
to an engine (`line_engine.py`, `exec_engine.py`), `judge.py` and `compare.py` judge the answers,
and `diagnosis.py` names mistakes. `reference.py` is refquant as an engine.
"""

from refquant.conformance.compare import Verdict, compare
from refquant.conformance.packs import Array, Case, Comparison, Pack, read_pack, read_suite

__all__ = [
    "Array",
    "Case",
    "Comparison",
    "Pack",
    "Verdict",
    "compare",
    "read_pack",
    "read_suite",
]
