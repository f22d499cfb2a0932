"""What a header says about one tensor, one document and the tokenizer, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["DocumentRecord", "Pieces", "TensorRecord", "TokenizerRecord"]


class Pieces(NamedTuple):
    """The segments that a plane is in: their numbers in one file, 0 for the root itself."""

    file: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor as the header lists it; `scheme` indexes `Header.layouts`."""

    name: str
    shape: tuple[int, ...]
    scheme: int
    planes: Mapping[str, Pieces]


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One document as the header lists it; an empty one has no segment."""

    name: str
    media: str
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenizerRecord:
    """The tokenizer as the header describes it; `document` names its JSON text."""

    kind: str
    document: str
    bos: int | None
    eos: tuple[int, ...]
    add_bos: bool
