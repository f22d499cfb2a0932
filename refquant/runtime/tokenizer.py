"""Text to token ids and back, on top of the `tokenizers` library.

The library encodes. For writing while a model speaks, each token's own bytes are looked up here:
the library's decoder works on whole texts, drops the space before a first word, and spoils
characters that come byte by byte.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

import tokenizers

from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import TokenizerSpec
from refquant.runtime.text_stream import IncrementalDecoder

__all__ = ["Tokenizer", "check_unicode"]

# The library's ids are unsigned and of 32 bits; a file may name others.
LIBRARY_IDS: Final = 1 << 32
SENTENCEPIECE_SPACE: Final = "\u2581"
SENTENCEPIECE_BYTE: Final = re.compile("<0x([0-9A-F]{2})>")


class Tokenizer:
    """A model's tokenizer: `bos` (or None), the ids `eos` that end a text, and both directions."""

    def __init__(self, spec: TokenizerSpec) -> None:
        if spec.kind not in PIECE_BYTES:
            raise UnsupportedError(
                f"the tokenizer kind {spec.kind!r} is unknown; known: {', '.join(PIECE_BYTES)}"
            )
        self.spec = spec
        self._library = _load(spec.json)
        self._piece_bytes = PIECE_BYTES[spec.kind]
        self._added = {
            token: b"" if added.special else added.content.encode()
            for token, added in self._library.get_added_tokens_decoder().items()
        }
        self._bytes: dict[int, bytes] = {}
        first = self._encoded("a").tokens[:1]
        marked = first[:1] != [] and first[0].startswith((SENTENCEPIECE_SPACE, "\u0120"))
        self._adds_space = marked or spec.kind == "wordpiece-1"

    @property
    def bos(self) -> int | None:
        """The id before the first token of a text, if the model has one."""
        return self.spec.bos

    @property
    def eos(self) -> tuple[int, ...]:
        """The ids at which writing ends."""
        return self.spec.eos

    @property
    def vocabulary(self) -> int:
        """How many ids there are, special ones included."""
        return int(self._library.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str, *, add_bos: bool | None = None) -> list[int]:
        """The ids of `text`, behind `bos` if the model expects it or `add_bos` says so.

        A text that spells `bos` out already gets no second one. UsageError for a text with half of
        a surrogate pair, FormatError for a tokenizer that fails on the text.
        """
        ids: list[int] = self._encoded(text).ids
        wanted = self.spec.add_bos if add_bos is None else add_bos
        if wanted and self.bos is not None and ids[:1] != [self.bos]:
            return [self.bos, *ids]
        return ids

    def encode_between_ends(self, text: str) -> list[int]:
        """The ids of `text` with the special tokens around it that the tokenizer's template names.

        Encoders read texts so: BERT puts `[CLS]` before and `[SEP]` behind.
        """
        ids: list[int] = self._encoded(text, special=True).ids
        return ids

    def _encoded(self, text: str, *, special: bool = False) -> tokenizers.Encoding:
        check_unicode(text, "the text")
        with _library_at_work("does not encode this text"):
            return self._library.encode(text, add_special_tokens=special)

    def special_in(self, text: str) -> str | None:
        """The first special token that a text spells, and that would be read as one; or None."""
        added = self._library.get_added_tokens_decoder().values()
        found = [one.content for one in added if one.special and one.content in text]
        return min(found, key=text.index, default=None)

    def decode(self, ids: Sequence[int]) -> str:
        """The whole text of `ids`, without the space that the encoder put before it."""
        decoder = self.decoder()
        text = "".join(decoder.add(token) for token in ids) + decoder.rest()
        return text.removeprefix(" ") if self._adds_space else text

    def decoder(self) -> IncrementalDecoder:
        """A fresh decoder for one text that comes token by token."""
        return IncrementalDecoder(self.token_bytes)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; none for special tokens and unknown ids."""
        if token not in self._bytes:
            self._bytes[token] = self._look_up(token)
        return self._bytes[token]

    def _look_up(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token]
        piece = self._library.id_to_token(token) if 0 <= token < LIBRARY_IDS else None
        return b"" if piece is None else self._piece_bytes(piece)


def check_unicode(text: str, what: str) -> None:
    """Refuse halves of surrogate pairs, as which Python takes bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{what} is not Unicode: its character {error.start} is {text[error.start]!r}"
        ) from error


@contextmanager
def _library_at_work(failure: str) -> Iterator[None]:
    """Turn what the library raises into a FormatError.

    It raises bare Exception for whatever it dislikes in a file. Where its Rust code panics, on a
    text that a file's regular expression takes too long for, that is no Exception at all.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise FormatError(
            "E_TOKENIZER", f"the tokenizer {failure}: {error}", where="tokenizer.json"
        ) from error


def _load(json: bytes) -> tokenizers.Tokenizer:
    with _library_at_work("cannot be read"):
        library = tokenizers.Tokenizer.from_str(json.decode())
    # Files for batches of equal length state both; a text here has the length that it has.
    library.no_padding()
    library.no_truncation()
    return library


@cache
def _byte_level_alphabet() -> Mapping[str, int]:
    """GPT-2's printable stand-in for each byte.

    Printable bytes of Latin-1 stand for themselves, the other 68 for U+0100 and onwards, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {chr(byte): byte for byte in printable}
    return stand_ins | {chr(0x100 + place): byte for place, byte in enumerate(others)}


def _byte_level(piece: str) -> bytes:
    alphabet = _byte_level_alphabet()
    if all(char in alphabet for char in piece):
        return bytes(alphabet[char] for char in piece)
    return piece.encode()


def _sentencepiece(piece: str) -> bytes:
    if match := SENTENCEPIECE_BYTE.fullmatch(piece):
        return bytes([int(match[1], 16)])
    return piece.replace(SENTENCEPIECE_SPACE, " ").encode()


def _wordpiece(piece: str) -> bytes:
    """A word has a space before it, what goes on with one has not."""
    return piece[2:].encode() if piece.startswith("##") else f" {piece}".encode()


PIECE_BYTES: Final[Mapping[str, Callable[[str], bytes]]] = {
    "bpe-bytelevel-1": _byte_level,
    "bpe-sentencepiece-1": _sentencepiece,
    "wordpiece-1": _wordpiece,
}
