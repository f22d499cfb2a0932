"""Codes in bytes, in plain Python: the orders in which formats pack them."""

from collections.abc import Sequence

__all__ = ["high_nibble_first", "low_bits_first"]


def low_bits_first(codes: Sequence[int], bits: int) -> bytes:
    """Codes as a string of bits, the first in the lowest bits, zeros after the last.

    The string ends where whole codes fill whole bytes: after 8 codes of 3 bits, 4 of 6 bits.
    """
    count = {1: 8, 2: 4, 3: 8, 4: 2, 5: 8, 6: 4, 7: 8, 8: 1}[bits]
    size = -(-len(codes) // count) * count * bits // 8
    number = 0
    for place, code in enumerate(codes):
        number |= (code % (1 << bits)) << (place * bits)
    return number.to_bytes(size, "little")


def high_nibble_first(codes: Sequence[int]) -> bytes:
    """Codes 0 to 15 in pairs, the even one in the upper half of its byte."""
    filled = [*codes, 0][: -(-len(codes) // 2) * 2]
    return bytes(16 * a + b for a, b in zip(filled[::2], filled[1::2], strict=True))
