"""How the help of one command looks: headings and two aligned columns, no boxes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

__all__ = ["SectionFormatter"]


class SectionFormatter:
    """Prints a help page as sections; the parser calls it once a section."""

    def __init__(self) -> None:
        self._usage = ""
        self._description = ""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print one section of options or commands."""
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        if not panel.entries:
            return
        self._begin(panel)
        grid = Table.grid(padding=(0, 3, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for entry in panel.entries:
            grid.add_row(Text(_label(entry), style="cyan"), _description(entry))
        with console.capture() as capture:
            console.print()
            console.print(Text(_plain(panel.title), style="bold"))
            console.print(Padding(grid, (0, 0, 0, 2)), width=options.max_width)
        # Rich pads every line to the width of the terminal.
        print("\n".join(line.rstrip() for line in capture.get().splitlines()))

    def render_usage(self, _console: "Console", _options: "ConsoleOptions", usage: Any) -> None:
        """Keep the line that shows the order of arguments until their names are known."""
        self._usage = str(usage or "").strip()

    def render_description(
        self, _console: "Console", _options: "ConsoleOptions", description: Any
    ) -> None:
        """Keep the paragraph and the examples of a command until its usage is printed."""
        primary = getattr(description, "primary_renderable", description)
        self._description = _plain(primary or "").strip()

    def _begin(self, panel: "HelpPanel") -> None:
        """Print what stands above the first section."""
        if self._usage:
            print(f"Usage: {_with_names(self._usage, panel)}\n\n{self._description}")
            self._usage = ""


def _with_names(usage: str, panel: "HelpPanel") -> str:
    """A line of usage with the names of the arguments that may be left out.

    The parser writes them as one word, `[ARGS]` or `[ARGS...]`.
    """
    head, bracket, dots = usage.partition(" [ARGS")
    if not bracket:
        return usage
    names = [str(entry.positional_label) for entry in panel.entries if not entry.required]
    return f"{head} {' '.join(f'[{name}]' for name in names)}".removesuffix("]") + dots


def _plain(value: object) -> str:
    return str(getattr(value, "plain", value))


def _label(entry: "HelpEntry") -> str:
    """`-n, --max-tokens INT`: the short name first, as in manual pages."""
    if not entry.positive_names and not entry.positive_shorts:
        return entry.positional_label or ""
    names = [*entry.positive_shorts, *entry.positive_names]
    metavar = f" {entry.metavar}" if entry.metavar else ""
    return ", ".join(names) + metavar


def _description(entry: "HelpEntry") -> "Text":
    from rich.text import Text

    primary = getattr(entry.description, "primary_renderable", entry.description)
    text = Text(_plain(primary).strip() if primary is not None else "")
    notes = []
    if entry.choices:
        notes.append("one of " + ", ".join(entry.choices))
    if entry.default is not None and entry.default not in ("False", "None", "()"):
        notes.append(f"default: {entry.default}")
    if notes:
        text.append(f" [{'; '.join(notes)}]", style="dim")
    return text
