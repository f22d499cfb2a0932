"""ggml's block formats, one weight at a time: from bytes to numbers, written from the clauses.

`decode(name, data)` reads one block by the byte positions that the clauses state, not through a
descriptor. The encoders are in `ggml_closed` and `ggml_search`; `encode(name, block)` gives the
codes of every field, scales of float16 as their 16 bits.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from conformance.oracle import ggml_closed, ggml_search
from conformance.oracle.binary import (
    FLOAT16,
    add,
    float32_from_bits,
    multiply,
    power_of_two,
    subtract,
)
from conformance.oracle.binary import decode as decode_float
from conformance.oracle.ggml_closed import E2M1_DOUBLED, IQ4_VALUES, half_e4m3

__all__ = ["decode", "encode"]

Fields = Mapping[str, Sequence[int]]


def half(data: bytes, at: int) -> float:
    """The binary16 number at byte `at`."""
    return decode_float(int.from_bytes(data[at : at + 2], "little"), FLOAT16)


def signed(byte: int) -> int:
    """A byte in two's complement."""
    return byte - 256 if byte > 127 else byte


def split(data: bytes, at: int, n: int, width: int = 16) -> int:
    """Nibble of weight n where a group's first `width` weights are low nibbles, the rest high."""
    byte = data[at + n % width]
    return byte >> 4 if n >= width else byte & 15


def q1_0(data: bytes, n: int) -> float:
    return half(data, 0) if data[2 + n // 8] >> (n % 8) & 1 else -half(data, 0)


def q2_0(data: bytes, n: int) -> float:
    return multiply(half(data, 0), (data[2 + n // 4] >> (2 * (n % 4)) & 3) - 1)


def q4_0(data: bytes, n: int) -> float:
    return multiply(half(data, 0), split(data, 2, n) - 8)


def q4_1(data: bytes, n: int) -> float:
    return add(multiply(half(data, 0), split(data, 4, n)), half(data, 2))


def fifth(data: bytes, at: int, n: int) -> int:
    """The fifth bit of weight n, from a 32-bit word at byte `at`, as 0 or 16."""
    return (data[at + n // 8] >> (n % 8) & 1) << 4


def q5_0(data: bytes, n: int) -> float:
    return multiply(half(data, 0), (split(data, 6, n) | fifth(data, 2, n)) - 16)


def q5_1(data: bytes, n: int) -> float:
    code = split(data, 8, n) | fifth(data, 4, n)
    return add(multiply(half(data, 0), code), half(data, 2))


def q8(data: bytes, n: int, codes_at: int) -> float:
    return multiply(half(data, 0), signed(data[codes_at + n]))


def q8_k(data: bytes, n: int) -> float:
    scale = float32_from_bits(int.from_bytes(data[:4], "little"))
    return multiply(scale, signed(data[4 + n]))


def quarters(data: bytes, at: int, n: int) -> int:
    """Two bits of weight n: 128 weights in 32 bytes, each byte holding weights 32 apart."""
    return data[at + n // 128 * 32 + n % 32] >> (2 * (n % 128 // 32)) & 3


def q2_k(data: bytes, n: int) -> float:
    scale, low = data[n // 16] & 15, data[n // 16] >> 4
    product = multiply(multiply(half(data, 80), scale), quarters(data, 16, n))
    return subtract(product, multiply(half(data, 82), low))


def q3_k(data: bytes, n: int) -> float:
    j = n // 16
    low = data[96 + j] & 15 if j < 8 else data[88 + j] >> 4
    scale = low | (data[104 + j % 4] >> (2 * (j // 4)) & 3) << 4
    code = quarters(data, 32, n) | (data[n % 32] >> (n // 32) & 1) << 2
    return multiply(multiply(half(data, 108), scale - 32), code - 4)


def six_bits(data: bytes, j: int) -> tuple[int, int]:
    """Scale and minimum of sub-block j out of the 12 bytes from byte 4 on."""
    part = data[4:16]
    if j < 4:
        return part[j] & 63, part[j + 4] & 63
    return part[j + 4] & 15 | part[j - 4] >> 6 << 4, part[j + 4] >> 4 | part[j] >> 6 << 4


def with_minimum(data: bytes, n: int, code: int) -> float:
    scale, low = six_bits(data, n // 32)
    product = multiply(multiply(half(data, 0), scale), code)
    return subtract(product, multiply(half(data, 2), low))


def q4_k(data: bytes, n: int) -> float:
    return with_minimum(data, n, split(data, 16 + n // 64 * 32, n % 64, 32))


def q5_k(data: bytes, n: int) -> float:
    high = data[16 + n % 32] >> (n // 32) & 1
    return with_minimum(data, n, split(data, 48 + n // 64 * 32, n % 64, 32) | high << 4)


def q6_k(data: bytes, n: int) -> float:
    quarter = n % 128 // 32
    low = data[n // 128 * 64 + quarter % 2 * 32 + n % 32] >> (4 * (quarter // 2)) & 15
    code = low | quarters(data, 128, n) << 4
    scale = multiply(half(data, 208), signed(data[192 + n // 16]))
    return multiply(scale, code - 32)


def iq4_nl(data: bytes, n: int) -> float:
    return multiply(half(data, 0), IQ4_VALUES[split(data, 2, n)])


def iq4_xs(data: bytes, n: int) -> float:
    j = n // 32
    high = int.from_bytes(data[2:4], "little") >> (2 * j) & 3
    scale = (data[4 + j // 2] >> (4 * (j % 2)) & 15 | high << 4) - 32
    return multiply(multiply(half(data, 0), scale), IQ4_VALUES[split(data, 8 + 16 * j, n % 32)])


def trit(byte: int, k: int) -> int:
    """Digit k of a byte that holds a fraction of 3**5."""
    return (byte * 3**k % 256) * 3 >> 8


def tq1_0(data: bytes, n: int) -> float:
    if n < 160:
        code = trit(data[n % 32], n // 32)
    elif n < 240:
        code = trit(data[32 + n % 16], (n - 160) // 16)
    else:
        code = trit(data[48 + n % 4], (n - 240) // 4)
    return multiply(half(data, 52), code - 1)


def tq2_0(data: bytes, n: int) -> float:
    return multiply(half(data, 64), quarters(data, 0, n) - 1)


def mxfp4(data: bytes, n: int) -> float:
    return multiply(float(power_of_two(data[0] - 128)), E2M1_DOUBLED[split(data, 1, n)])


def nvfp4(data: bytes, n: int) -> float:
    code = split(data, 4 + n // 16 * 8, n % 16, 8)
    return multiply(half_e4m3(data[n // 16]), E2M1_DOUBLED[code])


DECODERS: Mapping[str, tuple[int, Callable[[bytes, int], float]]] = {
    "q1_0": (128, q1_0),
    "q2_0": (64, q2_0),
    "q4_0": (32, q4_0),
    "q4_1": (32, q4_1),
    "q5_0": (32, q5_0),
    "q5_1": (32, q5_1),
    "q8_0": (32, partial(q8, codes_at=2)),
    "q8_1": (32, partial(q8, codes_at=4)),
    "q8_k": (256, q8_k),
    "q2_k": (256, q2_k),
    "q3_k": (256, q3_k),
    "q4_k": (256, q4_k),
    "q5_k": (256, q5_k),
    "q6_k": (256, q6_k),
    "iq4_nl": (32, iq4_nl),
    "iq4_xs": (256, iq4_xs),
    "tq1_0": (256, tq1_0),
    "tq2_0": (256, tq2_0),
    "mxfp4": (32, mxfp4),
    "nvfp4": (64, nvfp4),
}


def decode(name: str, data: bytes) -> list[float]:
    """The weights of one block of `ggml/<name>`."""
    count, weight = DECODERS[name]
    return [weight(data, n) for n in range(count)]


def encode(name: str, block: Sequence[float]) -> Fields:
    """The codes of every field of one block of finite weights."""
    encoder = ggml_closed.ENCODERS.get(name) or ggml_search.ENCODERS[name]
    return encoder(block)
