"""bitnet.cpp's I2_S in plain Python, from the clauses in registry/evidence/bitnet.json."""

from collections.abc import Sequence
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["i2_s"]

LEAST = Fraction(1e-6)


def i2_s(x: Sequence[float]) -> dict[str, list[int]]:
    """The scale's bits and the codes of a tensor."""
    scale = max(abs(v) for v in x)
    codes = [1 if abs(Fraction(v)) < LEAST else 2 if v > 0 else 0 for v in x]
    return {"s": [binary.encode(scale, binary.FLOAT32)], "q": codes}
