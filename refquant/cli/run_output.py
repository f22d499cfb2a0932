"""What `refquant run` prints: the text while it is written, or one JSON object at the end."""

import sys
from typing import TYPE_CHECKING, Any

from refquant.cli.output import emit_json
from refquant.cli.run_stats import Begun, stats

if TYPE_CHECKING:
    from refquant.runtime import Generation

__all__ = ["report", "stream", "write"]

_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}
"""Control characters that a model may write and a terminal must not obey."""


def stream(generation: "Generation", opening: str) -> list[int]:
    """Print the text while it is written, and return its tokens; the line is ended in any case."""
    guarded, tokens = sys.stdout.isatty(), []
    try:
        write(opening, guarded=guarded)
        for step in generation:
            tokens.append(step.token)
            write(step.text, guarded=guarded)
    finally:
        write("\n", guarded=guarded)
    return tokens


def write(text: str, *, guarded: bool) -> None:
    """Print a piece of text at once; `guarded` shows control characters instead of sending them."""
    if text:
        sys.stdout.write(text.translate(_CONTROLS) if guarded else text)
        sys.stdout.flush()


def report(begun: Begun, facts: dict[str, Any]) -> list[int]:
    """Print one object with these facts, the text and its statistics, and return its tokens."""
    steps = list(begun.generation)
    ids = [step.token for step in steps]
    told = [step.logprob for step in steps if step.logprob is not None]
    # The shortest decimal that gives the binary32 number back.
    logprobs = {"logprobs": [str(one) for one in told]} if told else {}
    emit_json(
        "run",
        {
            **facts,
            "text": "".join(step.text for step in steps),
            "tokens": ids,
            **logprobs,
            "finish": begun.generation.finish,
            "stats": stats(begun),
        },
    )
    return ids
