"""The loop that writes: prompt in, tokens out, one step at a time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from refquant.errors import LimitError, UsageError
from refquant.runtime.cache import Cache
from refquant.runtime.decoder import Watch, watch_nothing
from refquant.runtime.diffusion import BlockWriter, DiffusionOptions
from refquant.runtime.model import Model
from refquant.runtime.sampling import Sampler, SamplingOptions
from refquant.runtime.speculate import Speculator
from refquant.runtime.text_stream import StopFilter
from refquant.runtime.tokenizer import Tokenizer, check_unicode

__all__ = ["Finish", "GenerateOptions", "Generation", "Step", "Timings", "generate"]

Finish = Literal["", "eos", "stop", "length"]


@dataclass(frozen=True, slots=True)
class GenerateOptions(SamplingOptions):
    """How to draw (see SamplingOptions), and when to stop.

    Writing ends after `max_tokens` tokens, before the first of the `stop` texts, or at a token
    that the tokenizer calls the end, unless `ignore_eos`. With `logprobs`, every step tells the
    logarithm of its token's probability, before temperature and the like. With `speculate`, tokens
    are guessed and computed several at once, which changes the time and nothing else.
    """

    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: bool = False
    speculate: bool = False

    def __post_init__(self) -> None:
        super(GenerateOptions, self).__post_init__()
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens is {self.max_tokens}, expected 1 or more")
        if "" in self.stop:
            raise UsageError("a stop text is empty, and would stop every text before it begins")
        for text in self.stop:
            check_unicode(text, "a stop text")


@dataclass(frozen=True, slots=True)
class Step:
    """One token and the text that became certain with it.

    The text may be empty (half a character, or a beginning of a stop text is held back) and may
    be longer than the token's own. `finish` says why writing ended, and is empty before that.
    """

    token: int
    text: str
    finish: Finish
    logprob: np.float32 | None = None


@dataclass(slots=True)
class Timings:
    """What a generation cost, in seconds on a monotonic clock."""

    prompt_tokens: int
    tokens: int = 0
    prefill_seconds: float = 0.0
    first_token_seconds: float = 0.0
    decode_seconds: float = 0.0
    in_blocks: bool = False

    @property
    def tokens_per_second(self) -> float:
        """Speed of writing after the first token, which belongs to the prompt's pass.

        Of tokens that come in blocks the first one's time is the whole block's, and counts.
        """
        if self.in_blocks:
            spent = self.first_token_seconds + self.decode_seconds
            return self.tokens / spent if spent > 0.0 else 0.0
        return (self.tokens - 1) / self.decode_seconds if self.decode_seconds > 0.0 else 0.0

    @property
    def prefill_tokens_per_second(self) -> float:
        """Speed of reading the prompt."""
        return self.prompt_tokens / self.prefill_seconds if self.prefill_seconds > 0.0 else 0.0


class Writer(Protocol):
    """Gives the tokens of a text, one after another; `logprob` is the last one's, if known."""

    logprob: np.float32 | None

    def next(self) -> int:
        """The next token."""


class OneByOne:
    """Computes a token from all earlier ones, as most models do."""

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        options: GenerateOptions,
        watch: Watch,
        cache: Cache | None = None,
    ) -> None:
        self._model, self._sampler, self._watch = model, Sampler(options), watch
        self._tells = options.logprobs
        self.logprob: np.float32 | None = None
        self._cache = model.new_cache(len(prompt) + options.max_tokens) if cache is None else cache
        self._pending = list(prompt if cache is None else prompt[cache.length :])
        self._seen = set(prompt)

    def next(self) -> int:
        """The next token."""
        logits = self._model.next_logits(self._pending, self._cache, watch=self._watch)
        self._watch("logits", logits[np.newaxis])
        token = self._sampler.choose(logits, self._seen)
        if self._tells:
            self.logprob = self._model.log_probability(logits, token)
        self._seen.add(token)
        self._pending = [token]
        return token


def _writer(
    model: Model,
    prompt: Sequence[int],
    options: GenerateOptions,
    diffusion: DiffusionOptions,
    watch: Watch,
    cache: Cache | None,
) -> Writer:
    """What computes the tokens: in blocks of masks, with guesses, or one by one."""
    if model.fills_masks:
        return BlockWriter(model, prompt, options.max_tokens, Sampler(options), diffusion)
    if not options.speculate:
        return OneByOne(model, prompt, options, watch, cache)
    room = model.new_cache(len(prompt) + options.max_tokens) if cache is None else cache
    return Speculator(
        model, prompt, Sampler(options), room, options.max_tokens, logprobs=options.logprobs
    )


class Generation(Iterator[Step]):
    """The steps of one text; `timings` and `finish` tell how it went, so far."""

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        options: GenerateOptions,
        tokenizer: Tokenizer | None,
        diffusion: DiffusionOptions,
        watch: Watch,
        cache: Cache | None = None,
    ) -> None:
        _check_request(model, prompt, options, tokenizer, watch)
        known = 0 if cache is None else cache.length
        if cache is not None and (known >= len(prompt) or model.fills_masks):
            raise UsageError(
                f"a cache of {known} positions is no beginning of a prompt of {len(prompt)} tokens"
            )
        self.finish: Finish = ""
        self.timings = Timings(len(prompt) - known, in_blocks=model.fills_masks)
        self._options = options
        self._writer = _writer(model, prompt, options, diffusion, watch, cache)
        self._ends = () if tokenizer is None or options.ignore_eos else tokenizer.eos
        self._decoder = None if tokenizer is None else tokenizer.decoder()
        self._filter = StopFilter(options.stop)

    @property
    def guesses(self) -> tuple[int, int] | None:
        """How many tokens have been guessed, and how many rightly; None unless it speculates."""
        writer = self._writer
        return (writer.guessed, writer.right) if isinstance(writer, Speculator) else None

    def __next__(self) -> Step:
        """The next token; the clocks stand still while the caller has it."""
        if self.finish:
            raise StopIteration
        started = time.perf_counter()
        token = self._writer.next()
        computed = time.perf_counter()
        step = self._step(token)
        self._note(started, computed, time.perf_counter())
        return step

    def _step(self, token: int) -> Step:
        self.timings.tokens += 1
        if token in self._ends:
            self.finish = "eos"
            return Step(token, self._last_text(""), self.finish, self._writer.logprob)
        text = "" if self._decoder is None else self._filter.add(self._decoder.add(token))
        if self._filter.stopped:
            self.finish = "stop"
        elif self.timings.tokens == self._options.max_tokens:
            self.finish = "length"
            text = self._last_text(text)
        return Step(token, text, self.finish, self._writer.logprob)

    def _last_text(self, text: str) -> str:
        """`text` and everything that was held back."""
        if self._decoder is not None:
            text += self._filter.add(self._decoder.rest())
        return text + self._filter.rest()

    def _note(self, started: float, computed: float, ended: float) -> None:
        if self.timings.tokens == 1:
            self.timings.prefill_seconds = computed - started
            self.timings.first_token_seconds = ended - started
        else:
            self.timings.decode_seconds += ended - started


def _check_request(
    model: Model,
    prompt: Sequence[int],
    options: GenerateOptions,
    tokenizer: Tokenizer | None,
    watch: Watch,
) -> None:
    if not prompt:
        raise UsageError("the prompt has no tokens; a model needs at least one to go on from")
    if options.stop and tokenizer is None:
        raise UsageError("stop texts need a tokenizer, and this model came without one")
    if options.speculate and watch is not watch_nothing:
        raise UsageError("guessed tokens have states too; a trace is of those that are written")
    if options.speculate and model.fills_masks:
        raise UsageError("a model that fills in masks computes many tokens at once in any case")
    if watch is not watch_nothing and model.fills_masks:
        raise UsageError("a model that fills in masks has no states of one token after another")
    if options.logprobs and model.fills_masks:
        raise UsageError(
            "a model that fills in masks has no probability of one token after another"
        )
    room = model.context - len(prompt)
    if options.max_tokens > room:
        raise LimitError(
            f"the prompt's {len(prompt)} tokens and {options.max_tokens} new ones exceed the "
            f"model's context of {model.context}; "
            + (f"at most {room} new tokens fit" if room > 0 else "shorten the prompt")
        )


def generate(
    model: Model,
    prompt: Sequence[int],
    options: GenerateOptions | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    diffusion: DiffusionOptions | None = None,
    watch: Watch = watch_nothing,
    cache: Cache | None = None,
) -> Generation:
    """An iterator over the tokens that `model` writes after `prompt` (token ids).

    `diffusion` says how models that fill in masks go about it; others do not heed it.
    `watch` is shown the states behind all layers, and the logits (`Model.forward` says which).
    `cache` holds the first of the prompt's tokens already, not all of them, and takes up the rest;
    whoever gives it answers for that.
    Without a tokenizer the steps have no text and only `max_tokens` ends them. Raises UsageError
    or LimitError before any work starts if the request cannot be met.
    """
    return Generation(
        model,
        prompt,
        options or GenerateOptions(),
        tokenizer,
        diffusion or DiffusionOptions(),
        watch,
        cache,
    )
