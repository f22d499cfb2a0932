"""`refquant run --save-cache` and `--load-cache`: a text that need not be read again."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refquant.cli.computing import Computing
from refquant.cli.destination import check_output
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.runtime import Model
    from refquant.runtime.cache import Cache

__all__ = ["check_writing", "opened_cache", "saved"]


def check_writing(computing: Computing, model: Path | str) -> None:
    """Refuse, before any work, files that could not be written in the end."""
    if computing.save_cache is not None:
        from refquant.runtime.prompt_cache import check_target

        check_output(computing.save_cache, [Path(model)])
        check_target(computing.save_cache)
    if computing.trace is not None:
        from refquant.runtime import trace

        check_output(computing.trace, [Path(model)])
        trace.check_target(computing.trace)


def opened_cache(
    computing: Computing, model: "Model", ids: Sequence[int], capacity: int
) -> "Cache | None":
    """Room for a text, with what a file has of it; None where a model keeps its own."""
    if model.fills_masks:
        if (computing.save_cache, computing.load_cache) != (None, None):
            raise UsageError("a model that fills in masks has no cache that a file could hold")
        return None
    if computing.load_cache is None:
        return model.new_cache(capacity)
    from refquant.runtime.prompt_cache import load_prompt_cache

    cache = load_prompt_cache(computing.load_cache, model, ids, capacity)
    if not cache.length:
        message = f"{computing.load_cache} begins otherwise than this prompt; nothing of it is used"
        print(f"refquant: {message}", file=sys.stderr)
    return cache


def saved(
    computing: Computing, model: "Model", cache: "Cache | None", tokens: Sequence[int]
) -> None:
    """Write the file, if one was asked for."""
    if computing.save_cache is not None and cache is not None:
        from refquant.runtime.prompt_cache import save_prompt_cache

        save_prompt_cache(computing.save_cache, model, cache, tokens)
