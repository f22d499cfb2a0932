"""ggml's IQ1, IQ2 and IQ3 blocks in plain Python: exact rationals, rounded once.

Written from the clauses of the `ggml/` ledger. `decode(kind, block, vectors)` takes the 256
weights' bytes and the codebook, a list of vectors, which has no formula to write down here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["decode"]

Vectors = Sequence[Sequence[int]]
Numbers = Iterator[Fraction]
EIGHTH = Fraction(1, 8)


def decode(kind: str, block: bytes, vectors: Vectors) -> list[float]:
    """The weights of a block; all NaN or infinite where its float16 unit is."""
    unit = binary.decode(unit_of(kind, block), binary.FLOAT16)
    parts = list(DECODERS[kind](block, vectors))
    if unit - unit != 0:
        return [binary.multiply(unit, float(part)) for part in parts]
    signs = [-1 if part < 0 else 1 for part in parts]
    exact = [binary.f32(Fraction(unit) * part) for part in parts]
    negative = binary.bits32(unit) >> 31
    return [
        value or (-0.0 if (sign < 0) != bool(negative) else 0.0)
        for value, sign in zip(exact, signs, strict=True)
    ]


def unit_of(kind: str, block: bytes) -> int:
    """The bits of the float16 that scales the whole block."""
    if kind != "iq1_m":
        return int.from_bytes(block[:2], "little")
    words = [int.from_bytes(block[48 + 2 * k : 50 + 2 * k], "little") for k in range(4)]
    return sum(word >> 12 << 4 * k for k, word in enumerate(words))


def signed(seven: int) -> list[int]:
    """Signs of eight numbers: a bit each for seven, the eighth makes the minuses even."""
    bits = [seven >> k & 1 for k in range(7)]
    return [-1 if bit else 1 for bit in [*bits, sum(bits) % 2]]


def bits_of(byte: int) -> list[int]:
    """Signs of eight numbers, a bit each."""
    return [-1 if byte >> k & 1 else 1 for k in range(8)]


def times(scale: Fraction, numbers: Sequence[int], signs: Sequence[int]) -> Numbers:
    """The numbers of a vector with their signs and scale; vectors hold no zero here."""
    return (scale * n * s for n, s in zip(numbers, signs, strict=True))


def word(block: bytes, at: int) -> int:
    """A little-endian word of 32 bits."""
    return int.from_bytes(block[at : at + 4], "little")


def iq2_xxs(block: bytes, vectors: Vectors) -> Numbers:
    """Eight times 32 weights: four indexes, then four times 7 signs and a scale of 4 bits."""
    for part in range(8):
        at = 2 + 8 * part
        high = word(block, at + 4)
        scale = (Fraction(1, 2) + (high >> 28)) / 4
        for k in range(4):
            yield from times(scale, vectors[block[at + k]], signed(high >> 7 * k & 127))


def iq2_xs(block: bytes, vectors: Vectors) -> Numbers:
    """32 words of a 9-bit index and 7 signs, then a nibble of scale for two of them."""
    for k in range(32):
        both = int.from_bytes(block[2 + 2 * k : 4 + 2 * k], "little")
        scale = block[66 + k // 4] >> 4 * (k // 2 % 2) & 15
        yield from times((Fraction(1, 2) + scale) / 4, vectors[both & 511], signed(both >> 9))


def iq2_s(block: bytes, vectors: Vectors) -> Numbers:
    """32 low bytes of indexes, 32 bytes of signs, 8 bytes of high index bits, 8 of scales."""
    for k in range(32):
        index = block[2 + k] | (block[66 + k // 4] >> 2 * (k % 4) & 3) << 8
        scale = block[74 + k // 4] >> 4 * (k // 2 % 2) & 15
        yield from times((Fraction(1, 2) + scale) / 4, vectors[index], bits_of(block[34 + k]))


def iq3_xxs(block: bytes, vectors: Vectors) -> Numbers:
    """64 indexes of vectors of four, then 8 words of four times 7 signs and a scale."""
    for k in range(32):
        high = word(block, 66 + 4 * (k // 4))
        scale = (Fraction(1, 2) + (high >> 28)) / 2
        numbers = [*vectors[block[2 + 2 * k]], *vectors[block[3 + 2 * k]]]
        yield from times(scale, numbers, signed(high >> 7 * (k % 4) & 127))


def iq3_s(block: bytes, vectors: Vectors) -> Numbers:
    """64 low bytes of indexes, 8 bytes of high bits, 32 bytes of signs, 4 of scales."""
    for k in range(32):
        numbers: list[int] = []
        for j in (2 * k, 2 * k + 1):
            numbers += vectors[block[2 + j] | (block[66 + j // 8] >> j % 8 & 1) << 8]
        scale = block[106 + k // 8] >> 4 * (k // 4 % 2) & 15
        yield from times(Fraction(1 + 2 * scale), numbers, bits_of(block[74 + k]))


def iq1_s(block: bytes, vectors: Vectors) -> Numbers:
    """32 low bytes of indexes, then 8 words of 4 * 3 index bits, a scale, and a shift's sign."""
    for k in range(32):
        high = int.from_bytes(block[34 + 2 * (k // 4) : 36 + 2 * (k // 4)], "little")
        index = block[2 + k] | (high >> 3 * (k % 4) & 7) << 8
        shift = -EIGHTH if high >> 15 else EIGHTH
        scale = 2 * (high >> 12 & 7) + 1
        yield from (scale * (number + shift) for number in vectors[index])


def iq1_m(block: bytes, vectors: Vectors) -> Numbers:
    """As IQ1_S with nibbles of 3 index bits and a shift's sign, and 3-bit scales for 16."""
    for k in range(32):
        nibble = block[32 + k // 2] >> 4 * (k % 2) & 15
        index = block[k] | (nibble & 7) << 8
        shift = -EIGHTH if nibble & 8 else EIGHTH
        scales = int.from_bytes(block[48 + 2 * (k // 8) : 50 + 2 * (k // 8)], "little")
        scale = 2 * (scales >> 3 * (k // 2 % 4) & 7) + 1
        yield from (scale * (number + shift) for number in vectors[index])


DECODERS: Mapping[str, Callable[[bytes, Vectors], Numbers]] = {
    "iq1_s": iq1_s,
    "iq1_m": iq1_m,
    "iq2_xxs": iq2_xxs,
    "iq2_xs": iq2_xs,
    "iq2_s": iq2_s,
    "iq3_xxs": iq3_xxs,
    "iq3_s": iq3_s,
}
