"""Tables, units and JSON on stdout; text made safe for a terminal."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

__all__ = [
    "emit_json",
    "format_bits",
    "format_bytes",
    "format_count",
    "peak_memory",
    "print_pairs",
    "print_table",
    "printable",
    "tool_version",
]

_LEAST_WIDTH = 24
"""Columns that the last column of a table keeps on a narrow terminal."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def tool_version() -> str:
    """The version of this installation of refquant."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("refquant")
    except PackageNotFoundError:
        return "0+source"


def printable(text: str, keep: str = "") -> str:
    """A text whose control and format characters are shown as escapes.

    Names and metadata come from files that strangers wrote: an escape sequence in a tensor's name
    must not reach the terminal. Characters in `keep` pass (a newline in generated text).
    """
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def format_bytes(count: float) -> str:
    """A number of bytes in decimal units with three digits: 98362432 is `98.4 MB`."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    if unit == 0:
        return f"{int(value)} B"
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {_UNITS[unit]}"


def format_count(count: int) -> str:
    """An exact integer with thin groups: 134515008 is `134 515 008`."""
    return f"{count:_}".replace("_", " ")


def format_bits(bits: Fraction | float) -> str:
    """Bits per weight, to three decimals."""
    return f"{float(bits):.3f}"


def emit_json(command: str, payload: Mapping[str, Any]) -> None:
    """Print the one JSON object of a command, marked with the version of its schema."""
    document = {"schema": f"refquant.{command}/1", **payload}
    print(json.dumps(document, indent=2, default=_plain_value))


def _plain_value(value: object) -> object:
    """JSON for values it has no word for: fractions as numbers, bytes as their count."""
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value)}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return list(value)
    return str(value)


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Iterable[int] = (),
    footer: Sequence[object] = (),
) -> None:
    """Print rows under a header in aligned columns; columns in `numeric` are set to the right.

    On a terminal only the last column is folded; in a file or pipe none is.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    right, last = frozenset(numeric), len(header) - 1
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_footer=bool(footer))
    for index, title in enumerate(header):
        table.add_column(
            title,
            justify="right" if index in right else "left",
            footer=Text(str(footer[index])) if footer else "",
            no_wrap=index < last,
            overflow="fold",
            header_style="bold",
            footer_style="bold",
        )
    for row in cells:
        table.add_row(*map(Text, row))
    columns = zip(*cells, header, *([map(str, footer)] if footer else []), strict=True)
    _print_renderable(table, [max(map(len, column)) for column in columns])


def print_pairs(
    pairs: Iterable[tuple[str, object]], *, indent: int = 0, file: TextIO | None = None
) -> None:
    """Print names and values in two aligned columns, leaving out values that are None."""
    shown = [(printable(name), str(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0) + 2
    for name, value in shown:
        print(f"{'':{indent}}{name:{width}}{printable(value)}", file=file)


def peak_memory() -> int | None:
    """Most bytes that this process has held at once; None where the system does not tell."""
    # What getrusage says on Linux begins with the peak of the program that started this one.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text("ascii", "replace").splitlines()
        return next((int(s.split()[1]) << 10 for s in lines if s.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in units of 1024 bytes, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def _print_renderable(renderable: Any, widths: Sequence[int]) -> None:
    """Lay a table out for the terminal, but never narrower than its columns can bear."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    natural = sum(widths) + 2 * len(widths)
    if not sys.stdout.isatty():
        console.width = natural
    else:
        least = natural - max(widths[-1] - _LEAST_WIDTH, 0)
        console.width = max(console.width, least)
    with console.capture() as capture:
        console.print(renderable)
    # Written by hand, because rich ends the program when the reader of a pipe goes away.
    for line in capture.get().splitlines():
        print(line.rstrip())
