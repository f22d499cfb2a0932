"""Where the prompts of `refquant run` come from, as options, and the text of a single one."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from refquant.cli.texts import decoded, read_text
from refquant.errors import UsageError

__all__ = ["PromptSource", "read_prompt"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class PromptSource:
    """Where prompts come from, as options."""

    prompt: Annotated[
        str | None,
        Parameter(
            name=["--prompt", "-p"],
            help="Text to continue; - reads stdin.",
            allow_leading_hyphen=True,
        ),
    ] = None
    file: Annotated[
        Path | None, Parameter(name=["--file", "-f"], help="Read the prompt from a file.")
    ] = None
    prompts: Annotated[
        Path | None,
        Parameter(
            help="Continue every line of a file, or every string or object with prompt of a .jsonl "
            "file; prints a line of JSON for each."
        ),
    ] = None


def read_prompt(source: PromptSource) -> str:
    """The one prompt, without a newline at its very end where it comes from a file or stdin."""
    prompt, file = source.prompt, source.file
    if (prompt is None) == (file is None):
        found = "neither was given" if prompt is None else "both were given"
        raise UsageError(f"the prompt comes from --prompt TEXT, --prompt - or --file: {found}")
    if file is None and prompt is not None and prompt != "-":
        return prompt
    if file is None:
        text = decoded(sys.stdin.buffer.read(), "the prompt", "stdin")
    else:
        text = read_text(file, "the prompt")
    return text.removesuffix("\n").removesuffix("\r")
