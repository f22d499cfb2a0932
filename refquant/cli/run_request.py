"""Everything that `refquant run` was asked for, and which of it does not go together."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from refquant.cli.chat import Chatting
from refquant.cli.computing import Computing
from refquant.cli.prompt_source import PromptSource
from refquant.cli.sampling_options import Sampling
from refquant.errors import UsageError

__all__ = ["Printing", "Request"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Printing:
    """What is printed, as options."""

    echo: Annotated[bool, Parameter(help="Print the prompt before its continuation.")] = False
    stats: Annotated[bool, Parameter(help="Print speed and memory to stderr.")] = False
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False


_HINTS = {
    ("--chat", "--stats"): "; type /stats",
    ("--prompts", "--json"): ", which prints JSON in any case",
}


@dataclass(frozen=True, slots=True)
class Request:
    """All options of one call."""

    source: PromptSource
    computing: Computing
    sampling: Sampling
    printing: Printing
    chatting: Chatting

    def check(self) -> None:
        """Refuse, before any work, options that do not go together."""
        printing, talk = self.printing, self.chatting
        if self.sampling.logprobs and not (printing.json or self.source.prompts):
            raise UsageError("--logprobs goes with --json")
        if printing.json and printing.echo:
            raise UsageError("--echo does not go with --json, which tells the prompt in any case")
        if self.computing.trace is not None:
            from refquant.runtime.trace import check_ending

            check_ending(self.computing.trace)
        if talk.chat and self.sampling.speculate:
            raise UsageError("--speculate does not go with --chat")
        if talk.chat:
            self._check_alone("--chat")
        elif self.source.prompts is not None:
            self._check_alone("--prompts")
        if not talk.chat and (talk.system is not None or talk.jinja):
            raise UsageError("--system and --jinja go with --chat")

    def _check_alone(self, option: str) -> None:
        """Refuse what goes with one prompt only."""
        given = {
            "--prompt": self.source.prompt is not None,
            "--file": self.source.file is not None,
            "--prompts": option == "--chat" and self.source.prompts is not None,
            "--json": self.printing.json,
            "--echo": self.printing.echo,
            "--stats": self.printing.stats,
            "--trace": self.computing.trace is not None,
            "--save-cache": self.computing.save_cache is not None,
            "--load-cache": self.computing.load_cache is not None,
        }
        for other, is_given in given.items():
            if is_given:
                hint = _HINTS.get((option, other), "")
                raise UsageError(f"{other} does not go with {option}{hint}")
