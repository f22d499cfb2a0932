"""Tests for implementers: cases with known bits, comparisons that say what went wrong.

    from refquant.testing import assert_bits_equal, cases

    @cases("ggml/q4_0")
    def test_my_kernel(case):
        assert_bits_equal(my_dequantize(case.planes["blocks"], case.shape), case)

`cases` and the plugin need pytest, `blocks` and `adversarial` need Hypothesis; nothing else does,
so names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refquant.testing.case import Case, cases_of
    from refquant.testing.compare import assert_bits_equal
    from refquant.testing.inputs import adversarial_inputs
    from refquant.testing.matmul import BoundUse, assert_matmul_close
    from refquant.testing.mistakes import Mistake, probable_mistake
    from refquant.testing.parametrize import cases
    from refquant.testing.shapes import fitting_shape
    from refquant.testing.splitmix import SplitMix64
    from refquant.testing.strategies import adversarial, blocks

__all__ = [
    "BoundUse",
    "Case",
    "Mistake",
    "SplitMix64",
    "adversarial",
    "adversarial_inputs",
    "assert_bits_equal",
    "assert_matmul_close",
    "blocks",
    "cases",
    "cases_of",
    "fitting_shape",
    "probable_mistake",
]

_HOMES = {
    "BoundUse": "matmul",
    "Case": "case",
    "Mistake": "mistakes",
    "SplitMix64": "splitmix",
    "adversarial": "strategies",
    "adversarial_inputs": "inputs",
    "assert_bits_equal": "compare",
    "assert_matmul_close": "matmul",
    "blocks": "strategies",
    "cases": "parametrize",
    "cases_of": "case",
    "fitting_shape": "shapes",
    "probable_mistake": "mistakes",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refquant.testing' has no attribute {name!r}")
    value = getattr(import_module(f"refquant.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
