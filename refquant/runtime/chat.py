"""A conversation with a model: what was said, and the positions that need not be computed again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from refquant.errors import LimitError, UsageError
from refquant.runtime.cache import Cache
from refquant.runtime.diffusion import DiffusionOptions
from refquant.runtime.generate import GenerateOptions, Generation, Step, Timings, generate
from refquant.runtime.model import Model
from refquant.runtime.tokenizer import Tokenizer

__all__ = ["ChatSession"]

Message = tuple[str, str]


@dataclass
class ChatSession:
    """Messages in, answers out.

    `spell` turns a conversation into the text that the model continues. Every answer is what a
    fresh model writes after that text: what the cache holds is used as far as it is the same.
    An answer ends after `options.max_tokens`, or where the context does if `bounded` is false.
    """

    model: Model
    tokenizer: Tokenizer
    spell: Callable[[Sequence[Message]], str]
    options: GenerateOptions
    system: str | None = None
    bounded: bool = True
    diffusion: DiffusionOptions | None = None
    messages: list[Message] = field(default_factory=list, init=False)
    timings: Timings | None = field(default=None, init=False)
    tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._cache: Cache | None = None
        self._held: list[int] = []
        self.reset()
        # A system message that the model has no place for is refused before anything is said.
        self._ids([*self.messages, ("user", "?")])

    @property
    def cache_bytes(self) -> int:
        """What the keys and values of the conversation take."""
        return 0 if self._cache is None else self._cache.nbytes

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [] if self.system is None else [("system", self.system)]
        self._held, self.tokens, self.timings = [], 0, None
        if self._cache is not None:
            self._cache.truncate(0)

    def say(self, text: str) -> Iterator[Step]:
        """The steps of the answer to `text`; what came of it is remembered even if it is stopped.

        Before any work LimitError if the context has no room left, and UsageError for a text that
        spells a special token or that the chat has no place for; the message is then forgotten.
        """
        asked = [*self.messages, ("user", text)]
        ids = self._ids(asked)
        room = self.model.context - len(ids)
        if room < 1:
            raise LimitError(
                f"with this message the conversation has {len(ids)} tokens, and the model's "
                f"context is {self.model.context}; /reset begins anew, or say less"
            )
        most = min(self.options.max_tokens, room) if self.bounded else room
        cache = self._begun(ids)
        chosen = replace(self.options, max_tokens=most)
        generation = generate(
            self.model,
            ids,
            chosen,
            tokenizer=self.tokenizer,
            diffusion=self.diffusion,
            cache=cache,
        )
        return self._answer(asked, ids, generation)

    def _answer(
        self, asked: list[Message], ids: list[int], generation: Generation
    ) -> Iterator[Step]:
        pieces: list[str] = []
        written = list(ids)
        try:
            for step in generation:
                pieces.append(step.text)
                written.append(step.token)
                yield step
        finally:
            self._held = written
            self.tokens = len(written)
            self.timings = generation.timings
            self.messages = [*asked, ("assistant", "".join(pieces))]

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        for role, content in messages:
            special = self.tokenizer.special_in(content)
            if special is not None:
                raise UsageError(
                    f"the {role} message spells {special!r}, which the model would read as the "
                    "end or beginning of a message"
                )
        return self.tokenizer.encode(self.spell(messages))

    def _begun(self, ids: Sequence[int]) -> Cache | None:
        """The cache, cut to what it shares with `ids`; at least the last one is computed."""
        if self.model.fills_masks:
            return None
        if self._cache is None:
            self._cache = self.model.new_cache(self.model.context)
        # Behind what was written the cache may hold guesses, if the answer was stopped among them.
        shared = min(self._cache.length, len(self._held), len(ids) - 1)
        pairs = zip(self._held[:shared], ids, strict=False)
        differs = (place for place, (one, other) in enumerate(pairs) if one != other)
        self._cache.truncate(next(differs, shared))
        return self._cache
