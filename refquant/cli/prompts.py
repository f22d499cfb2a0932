"""`refquant run --prompts`: many prompts from a file, a line of JSON for each."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.cli.computing import Computing, loaded
from refquant.cli.mask_options import diffusion_options
from refquant.cli.opening import loading, opened
from refquant.cli.texts import read_text
from refquant.cli.writing import Writing
from refquant.errors import FormatError, LimitError, UsageError

if TYPE_CHECKING:
    from refquant.runtime import Generation

__all__ = ["Prompt", "answer_all", "continue_each", "read_prompts"]

Begin = Callable[[str], tuple[list[int], "Generation"]]
"""Gives a text's ids, and the generation of its continuation before its first step."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue, and where it stands."""

    text: str
    where: str


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file: a line each, or a JSON string or object with `prompt` each.

    A `.jsonl` file holds JSON, every other one text. Empty lines are passed over.
    """
    lines = read_text(path, "prompts").split("\n")
    numbered = [
        (f"{path}, line {number}", line.removesuffix("\r")) for number, line in enumerate(lines, 1)
    ]
    is_json = path.suffix.lower() == ".jsonl"
    found = [
        Prompt(_prompt_of(line, where) if is_json else line, where)
        for where, line in numbered
        if line.strip()
    ]
    if not found:
        raise UsageError(f"{path} holds no prompts")
    return found


def _prompt_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError("E_JSON", f"this is no JSON: {error}", where=where) from error
    prompt = value.get("prompt") if isinstance(value, dict) else value
    if not isinstance(prompt, str):
        raise FormatError("E_JSON", "expected a string, or an object with prompt", where=where)
    return prompt


def continue_each(prompts: Path, path: Path | str, computing: Computing, writing: Writing) -> int:
    """Open the model once and continue every prompt of a file."""
    from refquant.runtime import Tokenizer, generate

    texts = read_prompts(prompts)
    with loading(path), opened(path) as checkpoint:
        tokenizer = Tokenizer(checkpoint.need_tokenizer())
        model = loaded(checkpoint, computing)
    diffusion = diffusion_options(writing.filling, model)

    def begin(text: str) -> tuple[list[int], "Generation"]:
        ids = tokenizer.encode(text)
        chosen = writing.fitting(tokenizer, model.context - len(ids))
        return ids, generate(model, ids, chosen, tokenizer=tokenizer, diffusion=diffusion)

    return answer_all(texts, begin)


def answer_all(prompts: list[Prompt], begin: Begin) -> int:
    """Write one object for each prompt, in order, as soon as its text is whole."""
    # All are begun first, so that a prompt too long is told before anything is written; what one
    # needed is given back before the next is computed.
    begun = [(prompt.text, *_begun(prompt, begin)) for prompt in prompts]
    begun.reverse()
    while begun:
        prompt, ids, generation = begun.pop()
        steps = list(generation)
        told = [str(step.logprob) for step in steps if step.logprob is not None]
        facts: dict[str, Any] = {
            "prompt": prompt,
            "prompt_ids": ids,
            "text": "".join(step.text for step in steps),
            "tokens": [step.token for step in steps],
            **({"logprobs": told} if told else {}),
            "finish": generation.finish,
        }
        sys.stdout.write(json.dumps(facts, ensure_ascii=True) + "\n")
        sys.stdout.flush()
    return 0


def _begun(prompt: Prompt, begin: Begin) -> tuple[list[int], "Generation"]:
    try:
        return begin(prompt.text)
    except (UsageError, LimitError) as error:
        raise type(error)(f"{prompt.where}: {error}") from error
