"""The options that say how tokens are drawn."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from refquant.cli.mask_options import MaskFilling
from refquant.errors import UsageError

__all__ = ["DEFAULT_TOKENS", "Sampling"]

DEFAULT_TOKENS = 128


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn and where writing ends, as options."""

    max_tokens: Annotated[
        int | None,
        Parameter(
            name=["--max-tokens", "-n"],
            help=f"Most tokens to write. [default: {DEFAULT_TOKENS}, or what the context holds]",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Parameter(help="0 takes the most probable token; higher is more varied. [default: 0]"),
    ] = None
    top_k: Annotated[
        int | None,
        Parameter(help="With --temperature: draw among this many tokens. [default: all]"),
    ] = None
    top_p: Annotated[
        float | None,
        Parameter(
            help="With --temperature: draw among the fewest tokens of this total probability. "
            "[default: 1]"
        ),
    ] = None
    min_p: Annotated[
        float | None,
        Parameter(
            help="With --temperature: drop tokens below this fraction of the best one's "
            "probability. [default: 0]"
        ),
    ] = None
    repetition_penalty: Annotated[
        float, Parameter(help="Above 1: make tokens that were used already less likely.")
    ] = 1.0
    seed: Annotated[
        int | None,
        Parameter(
            help="With --temperature: starts the random numbers; the same repeats. [default: 0]"
        ),
    ] = None
    stop: Annotated[
        tuple[str, ...],
        Parameter(help="Stop before this text; may be repeated.", allow_leading_hyphen=True),
    ] = ()
    logit_bias: Annotated[
        tuple[str, ...],
        Parameter(
            help="TOKEN=NUMBER: add to the logit of a token, an id or a text that is one token; "
            "-inf forbids it; may be repeated.",
            allow_leading_hyphen=True,
        ),
    ] = ()
    ignore_eos: Annotated[bool, Parameter(help="Go on after an end-of-text token.")] = False
    speculate: Annotated[
        bool,
        Parameter(
            help="Guess what the text has said before and compute several tokens at once: the same "
            "tokens, sooner where it repeats itself."
        ),
    ] = False
    filling: MaskFilling | None = None
    logprobs: Annotated[
        bool, Parameter(help="With --json: the logarithm of each token's probability.")
    ] = False

    def check(self) -> None:
        """Refuse options about drawing where nothing is drawn.

        A temperature of 0 that was written out is meant so: scripts try several.
        """
        drawing = ("top_k", "top_p", "min_p", "seed")
        given = [name for name in drawing if getattr(self, name) is not None]
        if given and self.temperature is None:
            raise UsageError(
                f"--{given[0].replace('_', '-')} is about drawing, and without --temperature the "
                "most probable token is taken each time; add for example --temperature 0.8"
            )
