"""The options that say how tokens are drawn."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from refquant.cli.mask_options import MaskFilling

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
        float, Parameter(help="0 takes the most probable token; higher is more varied.")
    ] = 0.0
    top_k: Annotated[int, Parameter(help="Draw among this many tokens; 0: all.")] = 0
    top_p: Annotated[
        float, Parameter(help="Draw among the fewest tokens of this total probability; 1: all.")
    ] = 1.0
    min_p: Annotated[
        float, Parameter(help="Drop tokens below this fraction of the best one's probability.")
    ] = 0.0
    repetition_penalty: Annotated[
        float, Parameter(help="Above 1: make tokens that were used already less likely.")
    ] = 1.0
    seed: Annotated[int, Parameter(help="Starts the random numbers; the same seed repeats.")] = 0
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
