"""What every reader of models gives and every writer takes: tensors, tokenizer, texts, facts.

The readers of `.rq`, GGUF and Hugging Face directories all return a `Checkpoint`, so nothing above
this room knows where a model came from, except through `Checkpoint.info`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from refquant.architectures import Architecture
from refquant.errors import UnsupportedError
from refquant.formats.chat import ChatTurns
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


class TokenizerSpec:
    """Everything needed to turn text into token ids and back.

    `kind` names the algorithm (`bpe-bytelevel-1`, `bpe-sentencepiece-1`, ...). `json` is the text
    of a `tokenizer.json` that the `tokenizers` library loads; a reader that has to build it gives
    a function, which is called when somebody asks. `eos` holds, sorted, every id that ends a
    generation: the end of a text and the end of a turn. `add_bos` says whether the model expects
    `bos` before a text, so text is encoded without special tokens and `bos` put in front by this
    rule alone.
    """

    __slots__ = ("_json", "add_bos", "bos", "eos", "kind")

    def __init__(
        self,
        kind: str,
        json: bytes | Callable[[], bytes],
        bos: int | None,
        eos: tuple[int, ...],
        add_bos: bool,  # noqa: FBT001  (a field, spelled out where it is given)
    ) -> None:
        self.kind = kind
        self.bos = bos
        self.eos = eos
        self.add_bos = add_bos
        self._json = json

    @property
    def json(self) -> bytes:
        """The `tokenizer.json`, built on first use."""
        if not isinstance(self._json, bytes):
            self._json = self._json()
        return self._json

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenizerSpec):
            return NotImplemented
        return self._facts() == other._facts() and self.json == other.json

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        kind, bos, eos, add_bos = self._facts()
        return f"TokenizerSpec(kind={kind!r}, bos={bos}, eos={eos}, add_bos={add_bos})"

    def _facts(self) -> tuple[str, int | None, tuple[int, ...], bool]:
        return (self.kind, self.bos, self.eos, self.add_bos)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as a file holds it.

    `tensors` maps names to tensors in the order of the file and may build each on first touch.
    `aliases` maps the name of a tied tensor to the name of the stored one. `info` is for people
    (source, licence, labels): nothing is decided by it. A reader that met an architecture or a
    tokenizer it does not know leaves None and says why under `architecture_missing` or
    `tokenizer_missing`, so that the file can still be looked at. `unreadable` maps the tensors
    that no scheme of this version reads to the type their file gives them: they are in `tensors`
    too, so that nothing forgets them, and asking for one is an UnsupportedError. `extensions` are
    entries of `.rq`'s `ext` that this version does not know and need not know. `chat` says how a
    conversation is spelled, where strings can say it.
    """

    architecture: Architecture | None
    tensors: Mapping[str, QuantizedTensor]
    aliases: Mapping[str, str]
    tokenizer: TokenizerSpec | None
    documents: Mapping[str, Document]
    info: Mapping[str, object]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, object] = field(default_factory=dict)
    chat: ChatTurns | None = None

    def need_architecture(self) -> Architecture:
        """The architecture, or an UnsupportedError with the reader's reason for not having it."""
        if self.architecture is None:
            reason = self.info.get("architecture_missing", "the file names no architecture")
            raise UnsupportedError(f"this model cannot run: {reason}")
        return self.architecture

    def need_tokenizer(self) -> TokenizerSpec:
        """The tokenizer, or an UnsupportedError with the reader's reason for not having it."""
        if self.tokenizer is None:
            reason = self.info.get("tokenizer_missing", "the file holds no tokenizer")
            raise UnsupportedError(f"this model has no usable tokenizer: {reason}")
        return self.tokenizer
