"""Which tensor of a model gets which scheme, decided before any weight is read.

`assign` asks the rules of `RULES` in order; the first that has an answer decides, and its reason
stays with the tensor. A scheme that a tensor's shape does not fit gives way to a fallback, and the
reason says so. `quantized_plan` turns assignments into a file to be written, tensor by tensor.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import Plan, PlannedTensor
from refquant.formats.rq.read import StoredTensors
from refquant.layout import Layout
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, quantize

__all__ = [
    "KEEP",
    "RULES",
    "Assignment",
    "Request",
    "Role",
    "Subject",
    "assign",
    "quantized_plan",
    "role_of",
]

KEEP: Final = "keep"
"""The name, in place of a scheme's, that leaves every tensor as it is."""

SENSITIVE_SCHEME: Final = "ggml/q8_0"
"""What embeddings and output heads get in place of fewer than `SENSITIVE_BITS` bits."""

SENSITIVE_BITS: Final = 8

FALLBACKS: Final = (SENSITIVE_SCHEME, "int/affine[bits=8,channel]")
"""Tried in turn for a shape that the wanted scheme does not fit; the last one fits every matrix."""

FLOATS: Final = ("float/f32", "float/f16", "float/bf16")
"""Schemes of weights that nobody has quantized yet."""

Role = Literal["embedding", "attention", "feedforward", "head", "norm", "default"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What becomes of one tensor, and why.

    Schemes are names; `nbytes` is what the tensor takes under the target scheme. A tensor whose
    two schemes are the same is carried over byte for byte. `is_requantized` says that codes are
    replaced by other codes, so that two rounding errors add up.
    """

    tensor: str
    shape: tuple[int, ...]
    source_scheme: str
    target_scheme: str
    reason: str
    nbytes: int
    is_requantized: bool = False

    @property
    def weights(self) -> int:
        """How many weights the tensor has."""
        return prod(self.shape)

    @property
    def is_untouched(self) -> bool:
        """Whether the bytes stay as they are."""
        return self.source_scheme == self.target_scheme


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a scheme for the model, or None to keep it, and one for its ends."""

    scheme: Scheme | None
    embedding_scheme: Scheme | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule may know of a tensor."""

    name: str
    shape: tuple[int, ...]
    scheme: Scheme
    layout: Layout

    @property
    def role(self) -> Role:
        """What the tensor does in the model."""
        return role_of(self.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """A rule's answer: a scheme, or None to leave the tensor as it is."""

    scheme: Scheme | None
    reason: str


Rule = Callable[[Subject, Request], Choice | None]

_BY_NAME: Final[tuple[tuple[re.Pattern[str], Role], ...]] = (
    (re.compile(r"token_embd\.weight"), "embedding"),
    (re.compile(r"output\.weight"), "head"),
    (re.compile(r"(.*\.)?\w*norm\.(weight|bias)"), "norm"),
    (re.compile(r"blk\.\d+\.attn_\w+\.(weight|bias)"), "attention"),
    (re.compile(r"blk\.\d+\.ffn_\w+\.(weight|bias)"), "feedforward"),
)


def role_of(name: str) -> Role:
    """What a tensor does in a model, told from its name (the spelling is GGUF's)."""
    for pattern, role in _BY_NAME:
        if pattern.fullmatch(name):
            return role
    return "default"


def assign(
    checkpoint: Checkpoint, scheme: str, *, embedding_scheme: str | None = None
) -> tuple[Assignment, ...]:
    """The assignment of every stored tensor, in the checkpoint's order.

    `scheme` is a scheme's name, or `keep` to leave tensors as they are; `embedding_scheme` is for
    the token embedding and the output head, which otherwise follow `scheme`, with `ggml/q8_0` in
    place of fewer than 8 bits.
    Raises `UnknownSchemeError`, and `UsageError` for a scheme that can only be decoded.
    """
    request = Request(
        None if scheme == KEEP else _encodable(scheme),
        None if embedding_scheme is None else _encodable(embedding_scheme),
    )
    return tuple(
        _decide(_subject(checkpoint.tensors, name), request) for name in checkpoint.tensors
    )


def _subject(tensors: Mapping[str, QuantizedTensor], name: str) -> Subject:
    """What the header tells of a tensor: an `.rq` file need not decompress it for that."""
    if isinstance(tensors, StoredTensors):
        return Subject(name, tensors.shape(name), tensors.scheme(name)[0], tensors.layout(name))
    tensor = tensors[name]
    return Subject(name, tensor.shape, tensor.scheme, tensor.layout)


def _encodable(name: str) -> Scheme:
    found = find_scheme(name)
    if not found.can_encode:
        raise UsageError(f"{found.name} can be decoded but not encoded; choose another scheme")
    return found


def _decide(subject: Subject, request: Request) -> Assignment:
    answers = (rule(subject, request) for rule in RULES)
    choice = _fitted(subject, next(answer for answer in answers if answer is not None))
    if choice.scheme is None or choice.scheme.digest == subject.scheme.digest:
        # The layout decides what the bytes mean, so equal layouts need no new bytes.
        reason = choice.reason if choice.scheme is None else "has this scheme already"
        name, nbytes = subject.scheme.name, subject.layout.nbytes(subject.shape)
        return Assignment(subject.name, subject.shape, name, name, reason, nbytes)
    return Assignment(
        tensor=subject.name,
        shape=subject.shape,
        source_scheme=subject.scheme.name,
        target_scheme=choice.scheme.name,
        reason=choice.reason,
        nbytes=choice.scheme.layout.nbytes(subject.shape),
        is_requantized=not (_is_float(subject.scheme) or _is_float(choice.scheme)),
    )


def _is_float(scheme: Scheme) -> bool:
    """Whether weights are stored as floating-point numbers, under whatever name."""
    return scheme.digest in {find_scheme(name).digest for name in FLOATS}


def _fitted(subject: Subject, choice: Choice) -> Choice:
    """The choice, or the first fallback that the tensor's shape fits."""
    if choice.scheme is None or choice.scheme.digest == subject.scheme.digest:
        return choice
    problem = choice.scheme.why_not(subject.shape)
    if problem is None:
        return choice
    reason = f"{choice.scheme.name} does not fit: {problem}"
    for name in FALLBACKS:
        fallback = find_scheme(name)
        if fallback.why_not(subject.shape) is None:
            return Choice(fallback, reason)
    return Choice(None, reason)


def _keep_vectors(subject: Subject, _request: Request) -> Choice | None:
    return Choice(None, "one axis") if len(subject.shape) < 2 else None


def _keep_norms(subject: Subject, _request: Request) -> Choice | None:
    return Choice(None, "norm") if subject.role == "norm" else None


def _spare_the_ends(subject: Subject, request: Request) -> Choice | None:
    """Errors in the embedding and the head reach every token undiluted: they get 8 bits or more."""
    if subject.role not in ("embedding", "head"):
        return None
    if request.embedding_scheme is not None:
        return Choice(request.embedding_scheme, f"{subject.role}, as asked")
    if request.scheme is None or request.scheme.bits_per_weight(subject.shape) >= SENSITIVE_BITS:
        return None
    return Choice(find_scheme(SENSITIVE_SCHEME), f"{subject.role}: at least {SENSITIVE_BITS} bits")


def _follow_the_request(subject: Subject, request: Request) -> Choice | None:
    return Choice(request.scheme, subject.role if request.scheme else "kept as asked")


RULES: Final[tuple[Rule, ...]] = (
    _keep_vectors,
    _keep_norms,
    _spare_the_ends,
    _follow_the_request,
)
"""Asked in order; the last one always answers."""


def quantized_plan(
    checkpoint: Checkpoint,
    assignments: Iterable[Assignment],
    *,
    info: Mapping[str, object],
    threads: int | None = None,
    started: Callable[[str], None] | None = None,
) -> Plan:
    """The `.rq` file of a checkpoint whose tensors got their assigned schemes.

    No weight is read before the writer asks for its tensor; then `started` is called with the
    tensor's name, and the tensor is the only one in memory.
    """
    tensors = tuple(
        _planned(checkpoint.tensors, one, threads, started or _ignore) for one in assignments
    )
    return Plan(
        tensors=tensors,
        architecture=checkpoint.architecture,
        aliases=checkpoint.aliases,
        tokenizer=checkpoint.tokenizer,
        documents=checkpoint.documents,
        info=info,
    )


def _ignore(_name: str) -> None:
    return


def _planned(
    tensors: Mapping[str, QuantizedTensor],
    assignment: Assignment,
    threads: int | None,
    started: Callable[[str], None],
) -> PlannedTensor:
    # Only names and layouts are kept until then: a compressed tensor would stay decompressed.
    stored = _subject(tensors, assignment.tensor)
    kept = assignment.is_untouched
    target = stored.scheme if kept else find_scheme(assignment.target_scheme)

    def produce() -> Mapping[str, NDArray[np.uint8]]:
        started(assignment.tensor)
        source = tensors[assignment.tensor]
        if kept:
            return source.planes
        return quantize(source.dequantize(threads=threads), target, threads=threads).planes

    layout = stored.layout if kept else target.layout
    return PlannedTensor(assignment.tensor, layout, stored.shape, produce, target.name)
