"""Wrong readings that take codes from other bits: orders within bytes, joined parts, headers."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Digits, Field
from refquant.tensor import QuantizedTensor
from refquant.testing.reading import Places, Reading, Suspect, codes_at, places_of
from refquant.testing.shapes import code_fields

__all__ = ["orders", "wrong_headers", "wrong_orders"]

F32 = NDArray[np.float32]


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
    places = places_of(field)
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


Starts = NDArray[np.int64]
Move = Callable[[Starts, int], Starts]

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
    def values() -> F32:
        reading = right
        for name in names:
            places = _mapped(places_of(tensor.layout.fields[name]), lambda s, _w: s + bits)
            reading = reading.with_codes(name, codes_at(tensor, name, places))
        return reading.values()

    return values
