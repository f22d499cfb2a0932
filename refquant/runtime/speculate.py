"""Guessing the next tokens from the text itself, and computing several at once to see.

A text that repeats what it has said before is guessed by looking up what stood behind its last
tokens then. One pass computes the logits behind all guesses; those that the sampler would have
drawn stay, and the pass has paid for several tokens. In that pass every row is multiplied alone
(`Primitives.each_row_alone`), by the same calls of BLAS as a single token's, so its logits are the
same bits, and so is whatever is drawn from them: only the time differs.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from refquant.runtime.cache import Cache
from refquant.runtime.model import Model
from refquant.runtime.sampling import Sampler

__all__ = ["Guesses", "Speculator"]

# So many last tokens are looked up; the longer ones first.
LENGTHS: Final = (4, 3, 2)

MOST_GUESSES: Final = 8


class Guesses:
    """What stood behind the last tokens of a text when they last stood in it before."""

    def __init__(self, text: Sequence[int]) -> None:
        self._text: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._found: list[int | None] = [None] * len(LENGTHS)
        for token in text:
            self.add(token)

    def add(self, token: int) -> None:
        """The text's next token."""
        self._text.append(token)
        for number, length in enumerate(LENGTHS):
            if len(self._text) >= length:
                last = tuple(self._text[-length:])
                self._found[number] = self._places.get(last)
                self._places[last] = len(self._text)

    def next(self, most: int) -> list[int]:
        """Up to so many tokens that may come next; none if nothing speaks for any."""
        for place in self._found:
            if place is not None:
                return self._text[place : place + most]
        return []


class Speculator:
    """Writes the very tokens that `OneByOne` writes; `guessed` and `right` tell how it goes."""

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        sampler: Sampler,
        cache: Cache,
        most: int,
        *,
        logprobs: bool = False,
    ) -> None:
        self._model, self._sampler, self._cache = model, sampler, cache
        self._left, self._tells, self._is_begun = most, logprobs, False
        self._seen = set(prompt)
        self._guesses = Guesses(prompt)
        self._pending = list(prompt[cache.length :])
        self._ready: list[tuple[int, np.float32 | None]] = []
        self._reach = 2
        self.logprob: np.float32 | None = None
        self.guessed = self.right = 0

    def next(self) -> int:
        """The next token."""
        if not self._ready:
            self._compute()
        token, self.logprob = self._ready.pop(0)
        return token

    def _compute(self) -> None:
        """One pass over what is pending and what is guessed behind it."""
        start, room = self._cache.length, min(self._reach, self._left - 1)
        guesses = self._guesses.next(room) if self._is_begun and room > 0 else []
        self._is_begun = True
        if guesses:
            tokens = [*self._pending, *guesses]
            logits = self._model.forward(tokens, self._cache, each_row_alone=True)
        else:
            logits = self._model.next_logits(self._pending, self._cache)[np.newaxis]
        for number, row in enumerate(logits):
            token = self._sampler.choose(row, self._seen)
            told = self._model.log_probability(row, token) if self._tells else None
            self._ready.append((token, told))
            self._seen.add(token)
            self._guesses.add(token)
            if number == len(guesses) or token != guesses[number]:
                break
        self._pending = [self._ready[-1][0]]
        self._left -= len(self._ready)
        if guesses:
            right = len(self._ready) - 1
            self._cache.truncate(start + len(self._ready))
            self.guessed, self.right = self.guessed + len(guesses), self.right + right
            # Longer after a full hit, shorter after a miss: a wrong guess costs half a token.
            self._reach = min(2 * self._reach, MOST_GUESSES) if right == len(guesses) else right + 1
