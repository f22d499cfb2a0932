"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing for short work."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from refquant.cli.output import format_bytes, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

__all__ = ["Meter", "advancing", "progress", "status"]

_PATIENCE = 0.5
"""Seconds of work that pass before anything is shown."""

_STRIDE = 10
"""Percent between two plain lines."""


class Meter(Protocol):
    """Counts bytes of work done."""

    def start(self, label: str, /) -> None:
        """Name the item that is being worked on."""

    def advance(self, count: int, /) -> None:
        """Add finished bytes."""


@contextmanager
def progress(title: str, total: int, *, quiet: bool = False) -> Iterator[Meter]:
    """A meter for `total` bytes of work, drawn in the way stderr can show."""
    meter: _Silent | _Bar | _Lines
    if quiet:
        meter = _Silent()
    elif sys.stderr.isatty():
        meter = _Bar(title, total)
    else:
        meter = _Lines(title, total)
    try:
        yield meter
    finally:
        meter.close()


@contextmanager
def status(text: str) -> Iterator[None]:
    """A line on the terminal while something runs whose length is not known; gone afterwards."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"{printable(text)} ...", end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\x1b[2K", end="\r", file=sys.stderr, flush=True)


def advancing(meter: Meter) -> Callable[[str, int], None]:
    """What is told a name and the size of what was done of it, and lets the meter show both."""

    def advance(name: str, count: int) -> None:
        meter.start(name)
        meter.advance(count)

    return advance


class _Silent:
    def start(self, _label: str) -> None:
        return

    def advance(self, _count: int) -> None:
        return

    def close(self) -> None:
        return


class _Lines:
    """One line every ten percent: what a log file or a continuous-integration page can hold."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, max(total, 1), 0
        self._began = time.monotonic()
        self._next = _STRIDE
        self._label = ""

    def start(self, label: str) -> None:
        self._label = printable(label)

    def advance(self, count: int) -> None:
        self._done += count
        percent = 100 * self._done // self._total
        elapsed = time.monotonic() - self._began
        if percent < self._next or elapsed < _PATIENCE:
            return
        self._next = percent - percent % _STRIDE + _STRIDE
        rate = self._done / elapsed
        left = max(self._total - self._done, 0) / rate
        print(
            f"{self._title}: {percent:3d} % of {format_bytes(self._total)}, "
            f"{format_bytes(rate)}/s, {left:.0f} s left, {self._label}",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        return


class _Bar:
    """A bar with the item's name, the rate and the time left, drawn once the work takes a while."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
        self._began = time.monotonic()
        self._label = ""
        self._bar: RichProgress | None = None

    def start(self, label: str) -> None:
        self._label = printable(label)
        self._draw()

    def advance(self, count: int) -> None:
        self._done += count
        self._draw()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _draw(self) -> None:
        if self._bar is None:
            if time.monotonic() - self._began < _PATIENCE:
                return
            self._bar = _make_bar()
            self._bar.add_task(self._title, total=self._total, label="")
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self._done, label=self._label)


def _make_bar() -> "RichProgress":
    from rich import progress as parts
    from rich.console import Console

    return parts.Progress(
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(bar_width=24),
        parts.TaskProgressColumn(),
        parts.TransferSpeedColumn(),
        parts.TimeRemainingColumn(compact=True),
        parts.TextColumn("{task.fields[label]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
    )
