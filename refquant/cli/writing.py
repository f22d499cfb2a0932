"""What `refquant run` was asked to write, before a model is there that could say whether it can."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from refquant.cli.logit_bias import read_biases
from refquant.cli.mask_options import MaskFilling
from refquant.cli.sampling_options import DEFAULT_TOKENS, Sampling

if TYPE_CHECKING:
    from refquant.runtime import GenerateOptions, Tokenizer

__all__ = ["Writing", "writing_of"]


@dataclass(frozen=True, slots=True)
class Writing:
    """Options without biases, whose tokens need a tokenizer; `is_bounded` if `-n` was given."""

    options: "GenerateOptions"
    is_bounded: bool
    biases: tuple[str, ...]
    filling: MaskFilling

    def biased(self, tokenizer: "Tokenizer") -> "GenerateOptions":
        """The options with their biases."""
        return replace(self.options, logit_bias=read_biases(tokenizer, self.biases))

    def fitting(self, tokenizer: "Tokenizer", room: int) -> "GenerateOptions":
        """The options of one prompt: no more tokens than fit unless they were asked for."""
        most = self.options.max_tokens if self.is_bounded else max(1, min(DEFAULT_TOKENS, room))
        return replace(self.biased(tokenizer), max_tokens=most)


def writing_of(sampling: Sampling) -> Writing:
    """Command-line options as the runtime takes them."""
    from refquant.runtime import GenerateOptions

    sampling.check()
    asked = {name: value for name, value in asdict(sampling).items() if value is not None}
    limit, biases, _ = (asked.pop(name, None) for name in ("max_tokens", "logit_bias", "filling"))
    most = DEFAULT_TOKENS if limit is None else limit
    filling = sampling.filling or MaskFilling()
    return Writing(GenerateOptions(max_tokens=most, **asked), limit is not None, biases, filling)
