"""Whole tensors whose planes no layout alone describes, read and written in plain Python.

GPTQ's words with a group for each input, HQQ's parts of rows side by side, and bitsandbytes' blocks
that cross rows with absmax stored in codes. Planes are bytes; `x` holds the weights in C order.
"""

import struct
from collections.abc import Mapping, Sequence

from conformance.oracle import binary, bnb, gptq, hqq

__all__ = ["BlocksAcrossRows", "PartsOfRows", "WordsOfInputs"]

Planes = Mapping[str, bytes]
Shape = tuple[int, int]


def _numbers(raw: bytes, letter: str) -> list[int]:
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(letter)}{letter}", raw))


def _bytes(numbers: Sequence[int], letter: str) -> bytes:
    return struct.pack(f"<{len(numbers)}{letter}", *numbers)


class WordsOfInputs:
    """GPTQ: columns of 32-bit words, a zero point and a scale for each group and output."""

    def __init__(self, bits: int, version: str, symmetry: str, group: int, *, index: bool) -> None:
        self.bits, self.version, self.symmetry = bits, version, symmetry
        self.group, self.index = group, index

    def values(self, planes: Planes, shape: Shape) -> list[float]:
        """All weights in C order."""
        outputs, inputs = shape
        words = _numbers(planes["qweight"], "I")
        zeros, scales = _numbers(planes["qzeros"], "I"), _numbers(planes["scales"], "H")
        width = outputs * self.bits // 32
        groups = _numbers(planes["g_idx"], "i") if self.index else self._runs(inputs)
        found = []
        for out in range(outputs):
            column = words[out::outputs]
            for place, g in enumerate(groups):
                zero = gptq.code_of_rows(zeros[g * width :][:width], self.bits, out)
                code = gptq.code_of_rows(column, self.bits, place)
                found.append(gptq.value(scales[g * outputs + out], zero, code, self.version))
        return found

    def planes(self, x: Sequence[float], shape: Shape, importance: Sequence[float]) -> Planes:
        """The planes of weights; without importance, groups are runs of inputs."""
        outputs, inputs = shape
        groups = gptq.act_order(importance, self.group) if importance else self._runs(inputs)
        columns, zeros, scales = [0] * outputs, [], []
        for g in range(max(groups) + 1):
            members = [i for i in range(inputs) if groups[i] == g]
            row = 0
            for out in range(outputs):
                weights = [x[out * inputs + i] for i in members]
                fields = gptq.gptq(weights, self.bits, self.version, self.symmetry)
                scales.append(fields["s"][0])
                row |= fields["z"][0] << (self.bits * out)
                for i, code in zip(members, fields["q"], strict=True):
                    columns[out] |= code << (self.bits * i)
            zeros.append(row.to_bytes(outputs * self.bits // 8, "little"))
        rows = inputs * self.bits // 32
        words = [column >> 32 * row & 0xFFFFFFFF for row in range(rows) for column in columns]
        found = {"qweight": _bytes(words, "I"), "qzeros": b"".join(zeros)}
        found["scales"] = _bytes(scales, "H")
        return found | ({"g_idx": _bytes(groups, "i")} if self.index else {})

    def _runs(self, inputs: int) -> list[int]:
        return [place // self.group for place in range(inputs)]


class PartsOfRows:
    """HQQ: the rows of a matrix of groups, cut in parts that share bytes or words."""

    def __init__(self, bits: int, group: int, axis: int) -> None:
        self.bits, self.group, self.axis = bits, group, axis
        self.letter = "I" if bits == 3 else "B"

    def _matrix(self, shape: Shape) -> Shape:
        groups = shape[0] * shape[1] // self.group
        return (groups, self.group) if self.axis == 1 else (self.group, groups)

    def values(self, planes: Planes, shape: Shape) -> list[float]:
        """All weights in C order."""
        rows, columns = self._matrix(shape)
        packed = _numbers(planes["codes"], self.letter)
        scales, zeros = _numbers(planes["scales"], "I"), _numbers(planes["zeros"], "I")
        found = []
        for row in range(rows):
            place, shift = hqq.package_place(row, rows, self.bits)
            for column in range(columns):
                code = packed[place * columns + column] >> shift & (1 << self.bits) - 1
                group = row if self.axis == 1 else column
                found.append(hqq.decode(scales[group], zeros[group], code, "f32"))
        return found

    def planes(self, x: Sequence[float], shape: Shape, _: Sequence[float]) -> Planes:
        """The planes of weights."""
        rows, columns = self._matrix(shape)
        parts = 10 if self.bits == 3 else 8 // self.bits
        packed = [0] * (-(-rows // parts) * columns)
        scales, zeros = [], []
        for g in range(rows if self.axis == 1 else columns):
            if self.axis == 1:
                weights = list(x[g * columns : (g + 1) * columns])
            else:
                weights = list(x[g::columns])
            scale, zero, codes = hqq.encode(weights, self.bits, "real", "f32")
            scales.append(scale)
            zeros.append(zero)
            for k, code in enumerate(codes):
                row, column = (g, k) if self.axis == 1 else (k, g)
                place, shift = hqq.package_place(row, rows, self.bits)
                packed[place * columns + column] |= code << shift
        raw = _bytes(packed, self.letter)
        return {"codes": raw, "scales": _bytes(scales, "I"), "zeros": _bytes(zeros, "I")}


class BlocksAcrossRows:
    """bitsandbytes: blocks of all weights in C order; `nested`, absmax in codes of its own."""

    def __init__(self, kind: str, block: int, *, nested: bool) -> None:
        self.kind, self.block, self.nested = kind, block, nested

    def values(self, planes: Planes, shape: Shape) -> list[float]:
        """All weights in C order."""
        if self.nested:
            (offset,) = struct.unpack("<f", planes["nested_offset"])
            runs = _numbers(planes["nested_absmax"], "I")
            scales = [
                binary.bits32(bnb.decode_nested(code, runs[k // 256], offset))
                for k, code in enumerate(planes["absmax"])
            ]
        else:
            scales = _numbers(planes["absmax"], "I")
        codes = [code for byte in planes["codes"] for code in (byte >> 4, byte & 15)]
        return [
            bnb.decode(scales[k // self.block], codes[k], self.kind)
            for k in range(shape[0] * shape[1])
        ]

    def planes(self, x: Sequence[float], shape: Shape, _: Sequence[float]) -> Planes:
        """The planes of weights."""
        del shape
        blocks = [x[k : k + self.block] for k in range(0, len(x), self.block)]
        absmax = [max(abs(v) for v in block) for block in blocks]
        codes = [code for block in blocks for code in bnb.encode(block, self.kind)[1]]
        pairs = zip(codes[::2], codes[1::2], strict=True)
        found = {"codes": bytes(16 * first + second for first, second in pairs)}
        if not self.nested:
            return found | {"absmax": _bytes(list(map(binary.bits32, absmax)), "I")}
        offset = bnb.mean(absmax)
        inner, runs = bnb.encode_nested(absmax, offset)
        return found | {
            "absmax": bytes(inner),
            "nested_absmax": _bytes(runs, "I"),
            "nested_offset": struct.pack("<f", offset),
        }
