"""Running a chat template in a process with bounds; the extra `chat` installs what it needs."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refquant.errors import LimitError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.strict_json import parse_object
from refquant.formats.tokenizers_hugging_face import ids_by_text

__all__ = ["TEMPLATE", "ChatTemplate", "Message", "can_render", "template_of"]

TEMPLATE: Final = "chat_template.jinja"
"""The document that holds a model's template."""

SECONDS: Final = 5
CHARACTERS: Final = 1 << 20

Message = tuple[str, str]
"""A role and what it says."""


def can_render() -> bool:
    """True where jinja2 is installed."""
    return importlib.util.find_spec("jinja2") is not None


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template and the texts of the tokens around a text, which templates write themselves.

    With a `clock`, a template that asks for the date is told; strings that were taken from it then
    would say that date for ever.
    """

    source: str
    bos: str = ""
    eos: str = ""
    seconds: int = SECONDS
    characters: int = CHARACTERS
    clock: bool = True

    def text(self, messages: Sequence[Message]) -> str:
        """The text of a conversation, up to where the model answers.

        UsageError with the template's reason where it gives none; LimitError where it takes too
        long or writes too much.
        """
        (found,) = self.texts([(messages, True)])
        if "text" in found:
            return found["text"]
        raise UsageError(f"the chat template gives no text for this conversation: {found['error']}")

    def texts(self, wanted: Sequence[tuple[Sequence[Message], bool]]) -> list[dict[str, str]]:
        """For each conversation, with or without the answer's beginning, `text` or `error`."""
        if not can_render():
            raise UnsupportedError(
                "running a chat template needs jinja2: pip install 'refquant[chat]'"
            )
        request = {
            "template": self.source,
            "bos": self.bos,
            "eos": self.eos,
            "clock": self.clock,
            "seconds": self.seconds,
            "limit": self.characters,
            "wanted": [
                {
                    "messages": [{"role": role, "content": text} for role, text in messages],
                    "prompt": prompt,
                }
                for messages, prompt in wanted
            ],
        }
        return self._ask(json.dumps(request))

    def _ask(self, request: str) -> list[dict[str, str]]:
        script = Path(__file__).with_name("template_process.py")
        try:
            # -P: the folder of the script must not stand for the modules that it imports.
            ran = subprocess.run(
                [sys.executable, "-P", str(script)],
                input=request,
                capture_output=True,
                timeout=self.seconds + 5,
                check=False,
                encoding="utf-8",
            )
        except subprocess.TimeoutExpired as error:
            raise LimitError(self._too_much()) from error
        if ran.returncode != 0:
            raise LimitError(self._too_much())
        found: list[dict[str, str]] = json.loads(ran.stdout)
        return found

    def _too_much(self) -> str:
        return f"the chat template took more than {self.seconds} s or 1 GiB, and was stopped"


def template_of(checkpoint: Checkpoint) -> ChatTemplate | None:
    """The template that travels with a model, if one does."""
    document = checkpoint.documents.get(TEMPLATE)
    if document is None or checkpoint.tokenizer is None:
        return None
    spec = checkpoint.tokenizer
    ids = ids_by_text(parse_object(spec.json, "tokenizer.json"))
    names = {index: text for text, index in ids.items()}
    ends = [names[index] for index in spec.eos if index in names]
    bos = "" if spec.bos is None else names.get(spec.bos, "")
    source = document.data.decode("utf-8", errors="replace")
    # Of several ends the one that the template spells is meant; else the first.
    eos = next((end for end in ends if end in source), ends[0] if ends else "")
    return ChatTemplate(source, bos, eos)
