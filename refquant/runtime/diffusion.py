"""Writing by filling in masks, for models whose tokens see later ones: Dream, LLaDA, SDAR.

`spec/arch/diffusion.md` states the loop. A block begins as masks; each pass over it chooses a token
for every mask and keeps the ones that the model is sure of.
"""

import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import family_named
from refquant.errors import UsageError
from refquant.runtime.model import Model
from refquant.runtime.ops import Floats, softmax
from refquant.runtime.sampling import Sampler

__all__ = ["BlockWriter", "Confidence", "DiffusionOptions"]

Confidence = Literal["probability", "margin", "entropy"]
CONFIDENCES: Final[tuple[str, ...]] = get_args(Confidence)
# LLaDA's own loop writes blocks of 32 tokens.
BLOCK: Final = 32


@dataclass(frozen=True, slots=True)
class DiffusionOptions:
    """How masks are filled in.

    `block` is a block's length (left out: the model's own, or 32), `passes` how many passes the
    schedule plans for one (left out: one for each token). A mask is filled as soon as the
    `confidence` in its token is above `threshold`: its probability, the `margin` to the next
    probable token, or the sum of p ln p, negative `entropy`. `keep_blocks` computes finished
    blocks only once where the model would let them see later ones; a model of blocks always does.
    """

    block: int | None = None
    passes: int | None = None
    threshold: float = 0.95
    confidence: Confidence = "probability"
    keep_blocks: bool = False

    def __post_init__(self) -> None:
        laws = (
            ("block", self.block is None or self.block >= 1, "1 or more"),
            ("passes", self.passes is None or self.passes >= 1, "1 or more"),
            ("threshold", not math.isnan(self.threshold), "a number"),
            ("confidence", self.confidence in CONFIDENCES, " or ".join(CONFIDENCES)),
        )
        for name, holds, law in laws:
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)!r}, expected {law}")


class BlockWriter:
    """Gives a text's tokens one after another, block by block behind the scenes.

    `passes` counts the passes over blocks so far, those that only compute a finished one again
    among them.
    """

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        max_tokens: int,
        sampler: Sampler,
        options: DiffusionOptions,
    ) -> None:
        fields = model.architecture.fields
        constants = family_named(model.architecture.family).constants
        self.passes = 0
        self.logprob: np.float32 | None = None
        self._model, self._sampler, self._options = model, sampler, options
        self._mask = int(fields["mask_token"])
        self._shifted = constants["shifted_logits"] is True
        self._own_blocks = constants["sight"] == "blocks"
        self._length = self._block_length(fields.get("block_length"))
        if options.passes is not None and options.passes > self._length:
            raise UsageError(
                f"passes is {options.passes}, and a block has {self._length} tokens: each pass "
                "fills in at least one"
            )
        self._keeps = self._own_blocks or options.keep_blocks
        self._text = list(prompt)
        self._end = len(prompt) + max_tokens
        self._ready: deque[int] = deque()
        self._cache = model.new_cache(min(self._end + self._length, model.context))
        self._before: Floats | None = None
        start = self._start()
        if self._keeps and start:
            self._keep(self._text[:start])

    def _block_length(self, own: object) -> int:
        if not self._own_blocks:
            length = self._options.block or BLOCK
            if self._options.block is not None and length > self._model.context:
                raise UsageError(
                    f"block is {length}, and the model's context {self._model.context}"
                )
            return length
        if self._options.block not in (None, own):
            raise UsageError(f"this model's blocks have {own} tokens, not {self._options.block}")
        return int(str(own))

    def next(self) -> int:
        """The next token."""
        if not self._ready:
            self._ready.extend(self._fill())
        return self._ready.popleft()

    def _start(self) -> int:
        """Where the block begins that the next token belongs to."""
        length = len(self._text)
        return length // self._length * self._length if self._own_blocks else length

    def _fill(self) -> list[int]:
        """The tokens that the next block adds to the text."""
        start = self._start()
        limit = self._model.context if self._own_blocks else self._end
        stop = min(start + self._length, limit)
        known = self._text[start:]
        block = np.full(stop - start, self._mask, np.int64)
        block[: len(known)] = known
        hidden = np.arange(len(known), len(block))
        schedule = _schedule(len(hidden), self._options.passes or self._length)
        while hidden.size:
            rows = self._logits(block, start, hidden)
            tokens, confidence = self._choose(rows)
            sure = np.zeros(hidden.size, bool)
            sure[np.argsort(-confidence, kind="stable")[: next(schedule, 1)]] = True
            sure |= confidence > self._options.threshold
            block[hidden[sure]] = tokens[sure]
            hidden = hidden[~sure]
        self._text = [*self._text[:start], *block.tolist()]
        if self._keeps and len(self._text) < self._end:
            self._keep(block.tolist())
        return self._text[start + len(known) :]

    def _choose(self, rows: Floats) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A token for each row of logits, and the confidence in it."""
        rows[:, self._mask] = -np.inf
        seen: Collection[int] = set(self._text) - {self._mask}
        tokens = np.array([self._sampler.choose(row, seen) for row in rows], np.int64)
        shares = softmax(rows).astype(np.float64)
        chosen = shares[np.arange(len(tokens)), tokens]
        if self._options.confidence == "margin":
            second, first = np.partition(shares, -2, axis=1)[:, -2:].T
            return tokens, first - second
        if self._options.confidence == "entropy":
            logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
            return tokens, np.add.reduce(shares * logarithms, axis=1)
        return tokens, chosen

    def _logits(
        self, block: NDArray[np.int64], start: int, hidden: NDArray[np.int64]
    ) -> Floats:  # i64[b], int, i64[m] -> f32[m, v]
        """What the model says of the masked positions of a block."""
        self.passes += 1
        places = hidden - 1 if self._shifted else hidden
        if self._keeps:
            read = np.maximum(places, 0)
            rows = self._model.forward(block, self._cache, rows=read)
            self._cache.truncate(start)
            if self._before is not None:
                rows[places < 0] = self._before
            return rows
        later = np.full(self._end - start - len(block), self._mask, np.int64)
        whole = np.concatenate([np.array(self._text[:start], np.int64), block, later])
        self._cache.truncate(0)
        return self._model.forward(whole, self._cache, rows=np.maximum(start + places, 0))

    def _keep(self, tokens: list[int]) -> None:
        """Compute finished tokens once more, and keep their keys and values."""
        self.passes += 1
        last = self._model.next_logits(tokens, self._cache)
        self._before = last if self._shifted else None


def _schedule(masks: int, passes: int) -> Iterator[int]:
    """How many masks each pass fills at least, so that all are filled in so many passes."""
    for number in range(passes):
        yield max(1, masks // passes + (number < masks % passes))
