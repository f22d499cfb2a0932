"""The pictures of a report, as SVG that stands in the page: they take its colours by CSS."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from refquant.quantization.errors_of import TensorErrors

__all__ = ["heat_map", "histogram", "legend", "scatter"]

RAMP: Final = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Dark where much is lost, bright where little is: told apart by everybody's eyes, and in grey."""

CELL: Final = 18


def heat_map(errors: Sequence[TensorErrors]) -> str:
    """SQNR of every matrix of the layers: a column for each layer, a row for each kind."""
    cells = {
        (_part(one.name), one.layer): one
        for one in errors
        if one.layer is not None and one.sqnr_db is not None
    }
    if not cells:
        return ""
    parts = sorted({part for part, _ in cells})
    layers = sorted({layer for _, layer in cells if layer is not None})
    low, high = _range(one.sqnr_db or 0.0 for one in cells.values())
    left, top = 8 * max(map(len, parts)) + 12, 8
    bottom = top + CELL * len(parts) + 14
    body = []
    for row, part in enumerate(parts):
        y = top + CELL * row
        body.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(part)}</text>')
        for column, layer in enumerate(layers):
            if (one := cells.get((part, layer))) is not None:
                body.append(_cell(one, left + CELL * column, y, low, high))
    body.append(f'<text x="{left - 8}" y="{bottom}" text-anchor="end">layer</text>')
    every = max(len(layers) // 15, 1)
    body += [
        f'<text x="{left + CELL * column + 8}" y="{bottom}" text-anchor="middle">{layer}</text>'
        for column, layer in enumerate(layers)
        if column % every == 0
    ]
    body.append(_legend(left, bottom + 14, low, high))
    width = left + max(CELL * len(layers) + 12, 210)
    return _svg("map", width, bottom + 48, "SQNR by layer and matrix", body)


def _part(name: str) -> str:
    """Which matrix of its layer a tensor is: `blk.0.attn_q.weight` is attn_q."""
    return name.split(".", 2)[-1].removesuffix(".weight")


def _cell(one: TensorErrors, x: int, y: int, low: float, high: float) -> str:
    sqnr = one.sqnr_db or 0.0
    return (
        f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" '
        f'fill="{_colour((sqnr - low) / (high - low))}"><title>{escape(one.name)}: '
        f"{sqnr:.2f} dB, {escape(one.scheme)}</title></rect>"
    )


def _legend(x: int, y: int, low: float, high: float) -> str:
    steps = "".join(
        f'<rect x="{x + 4 * i}" y="{y}" width="4" height="10" fill="{_colour(i / 39)}"/>'
        for i in range(40)
    )
    return (
        f'{steps}<text x="{x}" y="{y + 24}">{low:.1f} dB</text>'
        f'<text x="{x + 160}" y="{y + 24}" text-anchor="end">{high:.1f} dB</text>'
        f'<text x="{x + 172}" y="{y + 10}">SQNR</text>'
    )


def scatter(errors: Sequence[TensorErrors]) -> str:
    """What bits buy: SQNR over bits for each weight, a dot for each tensor, a colour a scheme."""
    found = [one for one in errors if one.sqnr_db is not None]
    if not found:
        return ""
    schemes = _schemes(found)
    x0, x1 = _wider(_range(one.bits_per_weight for one in found))
    y0, y1 = _wider(_range(one.sqnr_db or 0.0 for one in found))
    left, top, wide, high = 48, 26, 430, 240

    def place(one: TensorErrors) -> tuple[float, float]:
        x = left + wide * (one.bits_per_weight - x0) / (x1 - x0)
        return x, top + high * (1 - ((one.sqnr_db or 0.0) - y0) / (y1 - y0))

    body = [*_axes(left, top, wide, high, (x0, x1), (y0, y1))]
    for one in found:
        x, y = place(one)
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="s{schemes.index(one.scheme) % 8}">'
            f"<title>{escape(one.name)}: {one.bits_per_weight:.3f} bits, {one.sqnr_db:.2f} dB"
            "</title></circle>"
        )
    return _svg("plot", left + wide + 12, top + high + 44, "SQNR over bits per weight", body)


def legend(errors: Sequence[TensorErrors]) -> str:
    """Which colour of the scatter is which scheme."""
    rows = "".join(
        f'<li><svg width="12" height="12"><circle cx="6" cy="6" r="5" class="s{number % 8}"/>'
        f"</svg> {escape(scheme)}</li>"
        for number, scheme in enumerate(_schemes(errors))
    )
    return f'<ul class="legend">{rows}</ul>' if rows else ""


def _schemes(errors: Iterable[TensorErrors]) -> list[str]:
    return sorted({one.scheme for one in errors if one.sqnr_db is not None})


def _axes(
    left: int, top: int, wide: int, high: int, xs: tuple[float, float], ys: tuple[float, float]
) -> Iterable[str]:
    for value in _ticks(*ys):
        y = top + high * (1 - (value - ys[0]) / (ys[1] - ys[0]))
        yield f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    for value in _ticks(*xs):
        x = left + wide * (value - xs[0]) / (xs[1] - xs[0])
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + high}"/>'
        yield f'<text x="{x:.1f}" y="{top + high + 16}" text-anchor="middle">{value:g}</text>'
    centre, below = left + wide / 2, top + high + 36
    yield f'<text x="{centre}" y="{below}" text-anchor="middle">bits per weight</text>'
    yield f'<text x="{left}" y="{top - 12}">SQNR in dB</text>'


def histogram(counts: Sequence[int]) -> str:
    """A small picture of how errors are spread, from the largest below zero to that above."""
    most = max(counts, default=0)
    if not most:
        return ""
    bars = "".join(
        f'<rect x="{2 * i}" y="{18 - 18 * n / most:.1f}" width="2" height="{18 * n / most:.1f}"/>'
        for i, n in enumerate(counts)
        if n
    )
    return (
        f'<svg class="spark" width="{2 * len(counts)}" height="18" aria-hidden="true">{bars}</svg>'
    )


def _svg(kind: str, width: int, height: int, label: str, body: Iterable[str]) -> str:
    return (
        f'<svg class="{kind}" role="img" aria-label="{label}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{"".join(body)}</svg>'
    )


def _range(values: Iterable[float]) -> tuple[float, float]:
    """The least and the largest, apart."""
    found = list(values)
    low, high = min(found), max(found)
    return (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)


def _wider(ends: tuple[float, float]) -> tuple[float, float]:
    """A range with some room at both ends."""
    room = (ends[1] - ends[0]) / 20
    return ends[0] - room, ends[1] + room


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between two."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def _colour(share: float) -> str:
    """A colour of the ramp, 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    mixed = (
        round(a + (place - index) * (b - a))
        for a, b in zip(RAMP[index], RAMP[index + 1], strict=True)
    )
    return "#{:02x}{:02x}{:02x}".format(*mixed)
