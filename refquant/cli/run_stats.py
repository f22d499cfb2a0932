"""What a text has cost that `refquant run` wrote."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from refquant.cli.output import format_bytes, peak_memory, print_pairs

if TYPE_CHECKING:
    from refquant.runtime import Generation, Model
    from refquant.runtime.cache import Cache
    from refquant.runtime.trace import Trace

__all__ = ["Begun", "print_stats", "stats"]


@dataclass(slots=True)
class Begun:
    """A text that is about to be written; `cached` positions of it came from a file."""

    ids: list[int]
    generation: "Generation"
    model: "Model"
    cache: "Cache | None"
    cached: int
    trace: "Trace | None"
    load_seconds: float = 0.0


def stats(begun: Begun) -> dict[str, Any]:
    """Times, speeds and sizes, by the names that `--json` gives them."""
    from refquant.runtime.held import held

    timings, cache = begun.generation.timings, begun.cache
    return {
        "load_seconds": begun.load_seconds,
        "weight_bytes": held(begun.model).nbytes,
        "cache_bytes": None if cache is None else cache.nbytes,
        "cache_positions": None if cache is None else cache.length,
        "cached_tokens": begun.cached,
        "prompt_tokens": timings.prompt_tokens,
        # A first pass over masks reads the prompt and begins to write.
        "prompt_tokens_per_second": None
        if begun.model.fills_masks
        else timings.prefill_tokens_per_second,
        "first_token_seconds": timings.first_token_seconds,
        "tokens": timings.tokens,
        "tokens_per_second": timings.tokens_per_second,
        "peak_memory_bytes": peak_memory(),
        **_guessing(begun.generation),
    }


def _guessing(generation: "Generation") -> dict[str, int]:
    if generation.guesses is None:
        return {}
    guessed, right = generation.guesses
    return {"guessed_tokens": guessed, "right_guesses": right}


def print_stats(begun: Begun) -> None:
    """The same on stderr, for people."""
    found = stats(begun)
    memory = found["peak_memory_bytes"]
    rate = found["prompt_tokens_per_second"]
    reading = "" if rate is None else f", {rate:.1f} tokens/s"
    speed = f", {found['tokens_per_second']:.1f} tokens/s" if found["tokens"] > 1 else ""
    cache, finish = None, begun.generation.finish
    tried = begun.generation.guesses
    guessed = None if tried is None else f"{tried[0]} tokens, {tried[1]} of them rightly"
    if begun.cache is not None:
        positions = f"{found['cache_positions']} positions as {begun.model.cache_type}"
        cache = f"{format_bytes(found['cache_bytes'])}, {positions}"
    print_pairs(
        [
            ("loading", f"{found['load_seconds']:.2f} s"),
            ("prompt", f"{found['prompt_tokens']} tokens{reading}"),
            ("first token", f"after {found['first_token_seconds']:.3f} s"),
            ("written", f"{found['tokens']} tokens{speed}, ended by {finish}"),
            ("guessed", guessed),
            ("from file", f"{begun.cached} tokens" if begun.cached else None),
            ("weights", format_bytes(found["weight_bytes"])),
            ("cache", cache),
            ("peak memory", None if memory is None else format_bytes(memory)),
        ],
        file=sys.stderr,
    )  # fmt: skip
