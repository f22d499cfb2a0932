"""The conformance suite as a program: reading packs, running engines, judging their answers.

`packs.py` reads what `conformance/SPEC.md` describes; `compare.py` judges one output array.
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
