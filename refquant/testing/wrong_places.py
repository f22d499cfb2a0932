"""Wrong readings that take codes from other bits: orders within bytes, joined parts, headers."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Digits, Field
from refquant.tensor import QuantizedTensor
from refquant.testing.reading import Places, Reading, Suspect, codes_at, places_of
from refquant.testing.shapes import code_fields

__all__ = ["orders", "wrong_headers", "wrong_orders", "wrong_sides"]

F32 = NDArray[np.float32]
Starts = NDArray[np.int64]
Move = Callable[[Starts, int], Starts]


def wrong_orders(tensor: QuantizedTensor, right: Reading) -> Iterator[Suspect]:
    """Codes whose parts are found in another order in each byte or record."""
    for name, field in tensor.layout.fields.items():
        if isinstance(field.element, Digits):
            continue
        for sentence, places in orders(name, field):
            yield sentence, _at(tensor, right, name, places)


def _at(tensor: QuantizedTensor, right: Reading, name: str, places: Places) -> Callable[[], F32]:
    return lambda: right.with_codes(name, codes_at(tensor, name, places)).values()


def orders(name: str, field: Field) -> Iterator[tuple[str, Places]]:
    """Other places of the codes of a field, each with the mistake in words."""
    places = _merged(places_of(field))
    what = "nibbles" if places[0][0][0] == 4 else f"{places[0][0][0]}-bit parts"
    below_a_byte = all(8 % width == 0 and width < 8 for piece in places for width, _ in piece)
    if below_a_byte:
        yield (
            f"{what} swapped: {name} is taken from the other end of each byte",
            _mapped(places, lambda s, w: s - s % 8 + (8 - w - s % 8)),
        )
        for sentence, key in _SORTINGS:
            yield (
                f"{what} in the wrong order: {name} is read as {sentence}",
                _mapped(places, _sorter(key), only_first=True),
            )
    if any(len(piece) > 1 for piece in places):
        yield f"high bits of {name} are left out", tuple(piece[:1] for piece in places)
        yield f"low and high bits of {name} exchanged", tuple(piece[::-1] for piece in places)
        for sentence, key in _SORTINGS:
            yield (
                f"high bits of {name} in the wrong order: read as {sentence}",
                _mapped(places, _sorter(key), only_first=False, skip_first=True),
            )
        yield (
            f"high bits of {name} taken from the other end of each byte",
            _mapped(places, lambda s, w: s - s % 8 + (8 - w - s % 8) % 8, skip_first=True),
        )
    if len(places) > 1:
        yield f"parts of {name} in reverse order", places[::-1]
    yield from _reversed_words(name, places)


def _merged(places: Places) -> Places:
    """Pieces of one slice each and of one width as a single piece, to be ordered together."""
    widths = {width for piece in places for width, _ in piece}
    if len(widths) > 1 or any(len(piece) > 1 for piece in places):
        return places
    starts = np.concatenate([starts for piece in places for _, starts in piece])
    return (((widths.pop(), starts),),)


def _reversed_words(name: str, places: Places) -> Iterator[tuple[str, Places]]:
    """First codes in the highest bits of a word or record, and bits counted from the other end."""
    for size in (4, 2, 8):
        bits = 8 * size
        yield (
            f"{name} is taken from the highest bits of each {size}-byte word first",
            _mapped(places, _from_the_end(bits)),
        )
    if any(len(starts) > 1 for piece in places for _, starts in piece):
        yield f"codes of {name} in reverse order", _mapped(places[::-1], lambda s, _w: s[::-1])
    if len(places) == 1 and len(places[0]) == 1:
        yield f"{name} is read with the highest bit of each byte first", _from_the_top(places)


def _from_the_end(bits: int) -> Move:
    """Places counted from the other end of each word of `bits` bits."""
    return lambda starts, width: starts - starts % bits + (bits - width - starts % bits)


def _later(bits: int) -> Move:
    return lambda starts, _width: starts + bits


def _from_the_top(places: Places) -> Places:
    """A stream of codes whose bits are counted from bit 7 of byte 0 downwards."""
    ((width, starts),) = places[0]
    first = starts.min() // 8 * 8

    def bit(k: int) -> Starts:
        index = starts - first + (width - 1 - k)
        return np.asarray(first + index // 8 * 8 + 7 - index % 8)

    return (tuple((1, bit(k)) for k in range(width)),)


_SORTINGS: tuple[tuple[str, Callable[[Starts], Starts]], ...] = (
    ("neighbours in one byte, low part first", lambda s: s),
    ("neighbours in one byte, high part first", lambda s: s // 8 * 8 + 7 - s % 8),
    ("all low parts, then all high parts", lambda s: s % 8 * (1 << 24) + s // 8),
    ("all high parts, then all low parts", lambda s: (7 - s % 8) * (1 << 24) + s // 8),
)


def _sorter(key: Callable[[Starts], Starts]) -> Move:
    return lambda starts, _width: starts[np.argsort(key(starts), kind="stable")]


def _mapped(
    places: Places, move: Move, *, only_first: bool = False, skip_first: bool = False
) -> Places:
    """The places with some slices of each piece moved."""

    def moved(index: int, width: int, starts: Starts) -> tuple[int, Starts]:
        kept = (only_first and index > 0) or (skip_first and index == 0)
        return (width, starts if kept else move(starts, width))

    return tuple(tuple(moved(i, w, s) for i, (w, s) in enumerate(piece)) for piece in places)


def wrong_sides(tensor: QuantizedTensor, right: Reading) -> Iterator[Suspect]:
    """Parameters of a record looked for behind its codes, or before them, where they are not."""
    layout, codes = tensor.layout, code_fields(tensor.layout)
    for plane, declared in layout.planes.items():
        fields = [n for n, f in layout.fields.items() if f.plane == plane]
        inner = [n for n in fields if n in codes]
        outer = [n for n in fields if n not in codes]
        if (
            not inner
            or not outer
            or any(isinstance(layout.fields[n].element, Digits) for n in fields)
        ):
            continue
        first = min(_first_bit(layout.fields[n]) for n in inner)
        last = max(_first_bit(layout.fields[n]) for n in outer)
        header = (
            first
            if last < first
            else 8 * declared.bytes - min(_first_bit(layout.fields[n]) for n in outer)
        )
        behind = last < first
        shifts = dict.fromkeys(inner, -header if behind else header)
        body = 8 * declared.bytes - header
        shifts |= dict.fromkeys(outer, body if behind else -body)
        side = "behind" if behind else "before"
        yield f"{', '.join(outer)} looked for {side} the codes", _moved(tensor, right, shifts)


def _first_bit(field: Field) -> int:
    return min(int(starts.min()) for piece in places_of(field) for _, starts in piece)


def wrong_headers(tensor: QuantizedTensor, right: Reading) -> Iterator[Suspect]:
    """Headers skipped by too few or too many bytes."""
    layout = tensor.layout
    plain = [n for n, f in layout.fields.items() if not isinstance(f.element, Digits)]
    groups = [(name, [name]) for name in code_fields(layout) if name in plain]
    groups += [("everything", plain)]
    groups += [(name, [name]) for name in plain if name not in code_fields(layout)]
    for what, names in groups:
        for count in (2, 1, 4, 3, 8, 12, 16):
            for sign, word in ((-1, "early"), (1, "late")):
                sentence = (
                    f"header skipped wrongly: {what} is read {count} "
                    f"byte{'s' * (count > 1)} too {word}"
                )
                yield sentence, _shifted(tensor, right, names, sign * 8 * count)


def _shifted(
    tensor: QuantizedTensor, right: Reading, names: list[str], bits: int
) -> Callable[[], F32]:
    return _moved(tensor, right, dict.fromkeys(names, bits))


def _moved(tensor: QuantizedTensor, right: Reading, shifts: Mapping[str, int]) -> Callable[[], F32]:
    """Values where each field named in `shifts` begins so many bits later."""

    def values() -> F32:
        reading = right
        for name, bits in shifts.items():
            field = tensor.layout.fields[name]
            places = _mapped(places_of(field), _later(bits))
            reading = reading.with_codes(name, codes_at(tensor, name, places))
        return reading.values()

    return values
