"""The one table of commands, the help that lists them, and the parser built from it.

A command is one file in this package, named like the command, whose function is imported only
when the command is called. Adding a command is adding its file and its row here.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refquant.cli.garbage import none_while_importing

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection

__all__ = ["COMMANDS", "Command", "root_help", "run", "version"]


@dataclass(frozen=True, slots=True)
class Command:
    """A command's name, its one-line summary, and the heading it stands under in the help."""

    name: str
    summary: str
    heading: str

    @property
    def target(self) -> str:
        """Where the function is: the module and the function are named like the command."""
        return f"refquant.cli.{self.name}:{self.name}"


_USE = "Use a model"
_MAKE = "Make and examine files"
_KNOW = "Know your tools"

COMMANDS = (
    Command("run", "Write text with a model", _USE),
    Command("pull", "Fetch a known model into the cache folder", _USE),
    Command("embed", "Turn texts into vectors with an encoder", _USE),
    Command("eval", "Measure how well a model predicts a text", _USE),
    Command("bench", "Measure how quick a model is on this machine", _USE),
    Command("quantize", "Write a quantized .rq file from a model", _MAKE),
    Command("inspect", "Show what a model file holds", _MAKE),
    Command("verify", "Check a .rq file to the last byte, or make it again and compare", _MAKE),
    Command("convert", "Write a model as .rq, GGUF, NNEF or safetensors", _MAKE),
    Command("explain", "Take a block apart: bytes, codes, numbers, values", _MAKE),
    Command("schemes", "List the quantization schemes", _KNOW),
    Command("recipes", "List the named recipes of other tools", _KNOW),
    Command("spec", "Show the definition of a scheme", _KNOW),
    Command("doctor", "Check this installation and its arithmetic", _KNOW),
    Command("conformance", "Test an engine in any language, and name its mistakes", _KNOW),
)

_DESCRIPTION = "The reference implementation of quantization formats for language models."

_EPILOGUE = """\
Examples
  refquant run demo --prompt "It is a truth" -n 40
  refquant pull smollm2-135m
  refquant quantize smollm2-135m -o small.rq --scheme ggml/q4_0
  refquant inspect small.rq --tensors

`refquant COMMAND --help` describes one command. Every command takes --json for results that a
program can read, and --traceback to show where an unexpected error arose. Exit status: 0 ok,
1 comparison failed, 2 usage, 3 invalid file, 4 unsupported, 5 would lose information, 6 resource
limit, 70 defect, 130 interrupted."""


def root_help() -> str:
    """The text of `refquant --help`, made without the parser so that it answers at once."""
    width = max(len(command.name) for command in COMMANDS) + 2
    lines = [_DESCRIPTION, "", "Usage: refquant COMMAND [OPTIONS]"]
    heading = ""
    for command in COMMANDS:
        if command.heading != heading:
            heading = command.heading
            lines += ["", heading]
        lines.append(f"  {command.name:{width}}{command.summary}")
    return "\n".join([*lines, "", _EPILOGUE])


def version() -> str:
    """The name and version of this installation."""
    from refquant.cli.output import tool_version

    return f"refquant {tool_version()}"


def run(tokens: Sequence[str]) -> int:
    """Parse one command line, call its command and return the exit status."""
    with none_while_importing():
        from cyclopts import App, CycloptsError, Parameter

        from refquant.cli.help import SectionFormatter
        from refquant.errors import UsageError

    app = App(
        name="refquant",
        help=_DESCRIPTION,
        version=version,
        help_format="plaintext",
        help_formatter=SectionFormatter(),
        default_parameter=Parameter(negative=()),
        group_parameters="Options",
        config=(_check_integers,),
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for command in COMMANDS:
        app.command(command.target, name=command.name)
    try:
        result = app(list(tokens))
    except CycloptsError as error:
        raise UsageError(_usage_message(str(error), tokens)) from error
    return result if isinstance(result, int) else 0


def _check_integers(_app: "App", _commands: tuple[str, ...], given: "ArgumentCollection") -> None:
    """Refuse a fraction where an integer is meant; the parser would round it."""
    from cyclopts import CycloptsError

    for argument in given:
        for token in argument.tokens:
            if argument.hint in (int, int | None) and "." in token.value:
                raise CycloptsError(
                    msg=f"{token.keyword} is {token.value}, expected a whole number."
                )


def _usage_message(message: str, tokens: Sequence[str]) -> str:
    """The parser's message in our words where its own are hard to follow, and where to read on."""
    text = " ".join(message.split())
    for pattern, replacement in _CLEARER:
        text = pattern.sub(replacement, text)
    known = {command.name for command in COMMANDS}
    named = list(itertools.takewhile(lambda token: not token.startswith("-"), tokens[:2]))
    if named[:1] != ["conformance"] or text.startswith("Unknown command"):
        named = [token for token in named[:1] if token in known]
    return f"{text} See `{' '.join(['refquant', *named])} --help`."


_CLEARER = (
    (
        re.compile(r'^Command "([\w ]+)" parameter (-\S+) requires an argument\.'),
        r"\1 needs a value for \2.",
    ),
    (re.compile(r'^Command "([\w ]+)" parameter (\S+) requires an argument\.'), r"\1 needs \2."),
    (
        re.compile(r"^Unused Tokens: \[(.*)\]\."),
        r"unexpected \1; a text that holds spaces goes in quotes, and a flag takes no value.",
    ),
)
