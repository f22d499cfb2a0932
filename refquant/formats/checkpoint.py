"""What every reader of models gives and every writer takes: tensors, architecture, tokenizer, texts.

The readers of `.rq`, GGUF and Hugging Face directories all return a `Checkpoint`, so nothing above
this room knows where a model came from, except through `Checkpoint.info`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refquant.architectures import Architecture
    from refquant.tensor import QuantizedTensor

__all__ = ["Checkpoint", "Document", "TokenizerSpec"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text that travels beside the weights, such as a chat template or a licence.

    `media` is its media type (`text/x-jinja`, `application/json`); `data` its bytes as they were.
    """

    name: str
    media: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """Everything needed to turn text into token ids and back.

    `kind` names the algorithm (`bpe-bytelevel-1`, `bpe-sentencepiece-1`); `json` is the text of a
    `tokenizer.json` that the `tokenizers` library loads. `eos` holds every id that ends a
    generation: the end of a text and the end of a turn. `add_bos` says whether the model expects
    `bos` before the first token of a text.
    """

    kind: str
    json: bytes = field(repr=False)
    bos: int | None
    eos: tuple[int, ...]
    add_bos: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as a file holds it.

    `tensors` maps names to tensors in the order of the file and may build each on first touch.
    `aliases` maps the name of a tied tensor to the name of the stored one. `info` is for people
    (source, licence, labels): nothing is decided by it.
    """

    architecture: "Architecture | None"
    tensors: "Mapping[str, QuantizedTensor]"
    aliases: Mapping[str, str]
    tokenizer: TokenizerSpec | None
    documents: Mapping[str, Document]
    info: Mapping[str, object]
