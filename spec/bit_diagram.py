"""Which bits of a record belong to which codes, drawn from the layout alone.

One line a byte, bit 7 on the left. Lines that go on in the same pattern are drawn once at the
start and once at the end of the run.
"""

from dataclasses import dataclass

from refquant.layout import Digits, Layout

__all__ = ["diagram"]

WIDTH = 8
"""Characters for one bit."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The code that a bit belongs to, and which of its bits it is."""

    field: str
    code: int
    bit: int
    codes: int
    bits: int


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring bits of one byte that belong to one code, from `low` up."""

    owner: Owner | None
    width: int

    @property
    def pattern(self) -> tuple[str, int, int, int]:
        """What must be the same for two bytes to be drawn as one run."""
        if self.owner is None:
            return ("", 0, self.width, 0)
        alone = self.owner.codes == 1
        return (self.owner.field, -1 if alone else self.owner.bit, self.width, self.owner.bits)

    def text(self) -> str:
        """The part as it is drawn."""
        if self.owner is None:
            return "0"
        name = (
            self.owner.field if self.owner.codes == 1 else f"{self.owner.field}[{self.owner.code}]"
        )
        if self.width == self.owner.bits:
            return name
        low, high = self.owner.bit, self.owner.bit + self.width - 1
        return f"{name}.{low}" if low == high else f"{name}.{high}-{low}"


def diagram(layout: Layout, plane: str) -> str:
    """The record of one plane as lines of text."""
    size = layout.planes[plane].bytes
    owners = _owners(layout, plane)
    rows = [_parts(owners[8 * byte : 8 * byte + 8]) for byte in range(size)]
    lines = ["byte   " + "".join(f"{bit:<{WIDTH}}" for bit in range(7, -1, -1)).rstrip()]
    byte = 0
    while byte < size:
        length = _run(rows, byte)
        lines.append(_line(byte, rows[byte]))
        if length > 3:
            lines.append("...")
        elif length == 3:
            lines.append(_line(byte + 1, rows[byte + 1]))
        if length > 1:
            lines.append(_line(byte + length - 1, rows[byte + length - 1]))
        byte += length
    return "\n".join(lines)


def _owners(layout: Layout, plane: str) -> list[Owner | None]:
    owners: list[Owner | None] = [None] * (8 * layout.planes[plane].bytes)
    for name, field in layout.fields.items():
        if field.plane != plane:
            continue
        bits = field.element.bits
        stored = sum(piece[0].count for piece in field.pieces)
        word = f"{name} digits" if isinstance(field.element, Digits) else name
        first = 0
        for piece in field.pieces:
            low = 0
            for run in piece:
                for number, start in enumerate(run.starts()):
                    for k in range(run.bits):
                        owners[start + k] = Owner(word, first + number, low + k, stored, bits)
                low += run.bits
            first += piece[0].count
    return owners


def _parts(owners: list[Owner | None]) -> list[Part]:
    """The parts of one byte, from bit 7 down."""
    parts: list[Part] = []
    start = 0
    for k in range(1, 9):
        if k == 8 or not _continues(owners[k - 1], owners[k]):
            parts.append(Part(owners[start], k - start))
            start = k
    return parts[::-1]


def _continues(left: Owner | None, right: Owner | None) -> bool:
    if left is None or right is None:
        return left is right
    return (left.field, left.code, left.bit + 1) == (right.field, right.code, right.bit)


def _run(rows: list[list[Part]], first: int) -> int:
    """How many rows go on in the pattern of the first two."""
    if first + 1 >= len(rows) or not _alike(rows[first], rows[first + 1]):
        return 1
    step = _step(rows[first], rows[first + 1])
    length = 2
    while (
        first + length < len(rows)
        and _alike(rows[first], rows[first + length])
        and _step(rows[first + length - 1], rows[first + length]) == step
    ):
        length += 1
    return length


def _alike(left: list[Part], right: list[Part]) -> bool:
    return [part.pattern for part in left] == [part.pattern for part in right]


def _step(left: list[Part], right: list[Part]) -> list[tuple[int, int]]:
    return [
        (b.owner.code - a.owner.code, b.owner.bit - a.owner.bit) if a.owner and b.owner else (0, 0)
        for a, b in zip(left, right, strict=True)
    ]


def _line(byte: int, parts: list[Part]) -> str:
    cells = "".join(f"{part.text():<{WIDTH * part.width}}" for part in parts)
    return f"{byte:<7}{cells}".rstrip()
