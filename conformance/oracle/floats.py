"""Plain floats as schemes, in plain Python: every weight rounded once to its storage."""

from conformance.oracle import binary

__all__ = ["decode", "encode"]

FORMS = {"f32": binary.FLOAT32, "f16": binary.FLOAT16, "bf16": binary.BFLOAT16}


def encode(value: float, name: str) -> int:
    """The code nearest to a binary32 number, ties to even; overflow is infinite."""
    return binary.encode(value, FORMS[name])


def decode(code: int, name: str) -> float:
    """The number a code stands for."""
    return binary.decode(code, FORMS[name])
