"""A model that can run: weights, numbers and the forward pass of its family."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import Architecture, check
from refquant.arithmetic.contracts import ACTIVATIONS
from refquant.arithmetic.precision import PRECISIONS, Precision
from refquant.arithmetic.static import STATIC
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import (
    COMPUTE_EXTENSION,
    MatrixContract,
    compute_contracts,
    compute_extension,
    compute_precision,
)
from refquant.runtime.arithmetic_mode import (
    ArithmeticMode,
    arithmetic,
    arithmetic_of,
    using,
)
from refquant.runtime.cache import CACHE_TYPES, Cache, CacheType
from refquant.runtime.decoder import Watch, watch_nothing
from refquant.runtime.families import ENCODERS, LOADERS, Network
from refquant.runtime.memory import return_freed_memory
from refquant.runtime.ops import Floats, log_probability
from refquant.runtime.precision import in_precision, rounding
from refquant.runtime.weights import WeightMode, require_finite
from refquant.runtime.workers import Crew

__all__ = ["Model", "load_model"]

LAST: Final = np.array([-1])

# From so many tokens on, what they have needed is worth giving back: it is megabytes, for 1 ms.
MANY_TOKENS: Final = 64


@dataclass(frozen=True, slots=True)
class Model:
    """A language model: token ids in, logits out.

    `checkpoint` is where the weights came from; `weight_mode` says how they are held,
    `arithmetic_mode` how sums are rounded, and `crew` are the processes that compute, if they were
    asked for. Several threads may ask at once, each with a cache of its own; they take turns,
    because the buffers in which weights become numbers are the model's.
    """

    architecture: Architecture
    network: Network = field(repr=False)
    checkpoint: Checkpoint = field(repr=False)
    weight_mode: WeightMode
    arithmetic_mode: ArithmeticMode = "fast"
    crew: Crew | None = field(default=None, repr=False)
    precision: Precision = "float32"
    cache_type: CacheType = "float32"
    turn: "threading.RLock" = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def vocabulary(self) -> int:
        """How many token ids there are."""
        return int(self.architecture.fields["vocabulary"])

    @property
    def context(self) -> int:
        """How many positions the model was trained for."""
        return int(self.architecture.fields["context"])

    @property
    def fills_masks(self) -> bool:
        """True if it writes by filling in masks, false if one token after another."""
        return "mask_token" in self.architecture.fields

    def new_cache(self, capacity: int | None = None) -> Cache:
        """Room for the keys and values of `capacity` positions; the whole context by default."""
        cache = self.network.new_cache(self.context if capacity is None else capacity)
        return cache if self.cache_type == cache.kind else cache.of_type(self.cache_type)

    def forward(
        self,
        ids: Sequence[int] | NDArray[np.int64],
        cache: Cache,
        *,
        rows: NDArray[np.int64] | None = None,
        watch: Watch = watch_nothing,
        each_row_alone: bool = False,
    ) -> Floats:  # i64[t] -> f32[t, v] or f32[m, v]; the latter for m `rows`
        """Logits for the token after each of `ids`, which go behind what `cache` holds.

        With `rows`, places among `ids`, only those are computed.
        `watch(name, state)` is shown the state f32[t, d] behind the embedding ("embedding"), each
        layer ("blk.0", ...) and the last norm ("output_norm"), and must not change it.
        With `each_row_alone` the logits are the same bits as if each token had a call of its own.
        """
        return self._run(ids, cache, rows=rows, watch=watch, alone=each_row_alone)

    def next_logits(
        self,
        ids: Sequence[int] | NDArray[np.int64],
        cache: Cache,
        *,
        watch: Watch = watch_nothing,
    ) -> Floats:  # i64[t] -> f32[v]
        """Logits for the token after the last of `ids`; spares the output matrix the others."""
        last: Floats = self._run(ids, cache, rows=LAST, watch=watch)[-1]
        return last

    def log_probability(self, logits: Floats, token: int) -> np.float32:  # f32[v], int -> f32
        """The logarithm of a token's probability, in this model's arithmetic."""
        with arithmetic(self.arithmetic_mode):
            return log_probability(logits, token)

    def _run(
        self,
        ids: Sequence[int] | NDArray[np.int64],
        cache: Cache,
        *,
        rows: NDArray[np.int64] | None,
        watch: Watch = watch_nothing,
        alone: bool = False,
    ) -> Floats:
        tokens = self._checked_tokens(ids)
        start, is_exact = cache.length, self.arithmetic_mode == "exact"
        # What is not finite shows in the logits, and gets an error instead of a warning.
        with (
            self.turn,
            np.errstate(over="ignore", invalid="ignore"),
            using(arithmetic_of(exact=is_exact, alone=alone and not is_exact)),
            rounding(self.precision),
        ):
            logits = self.network.forward(tokens, cache, rows=rows, watch=watch)
            if self.crew is not None and not logits.flags.owndata:
                logits = logits.copy()  # of memory that the workers write, and every fork shares
        if len(tokens) >= MANY_TOKENS:
            return_freed_memory()
        if not np.isfinite(np.add.reduce(logits, axis=None)) and not np.isfinite(logits).all():
            cache.truncate(start)
            raise self._explain_not_finite()
        return logits

    def _checked_tokens(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        tokens = np.asarray(ids, np.int64)
        if tokens.ndim != 1 or tokens.size == 0:
            raise UsageError(f"token ids have shape {list(tokens.shape)}, expected one or more ids")
        if int(tokens.min()) < 0 or int(tokens.max()) >= self.vocabulary:
            raise UsageError(
                f"token ids reach from {tokens.min()} to {tokens.max()}, "
                f"the model knows 0 to {self.vocabulary - 1}"
            )
        return tokens

    def _explain_not_finite(self) -> FormatError:
        """Name the tensor that spoils the logits; packed weights are only decoded now."""
        for name, tensor in self.checkpoint.tensors.items():
            require_finite(tensor.dequantize(), name)
        return FormatError(
            "E_NOT_FINITE",
            "every weight is finite and yet the logits are not: the model's values grow beyond "
            f"what {self.precision} can hold, or a cache of type {self.cache_type}",
        )


WEIGHT_MODES: Final[tuple[str, ...]] = get_args(WeightMode)


def load_model(
    checkpoint: Checkpoint,
    weights: WeightMode = "float32",
    arithmetic_mode: ArithmeticMode = "fast",
    compute: str | None = None,
    *,
    workers: int | None = None,
    precision: Precision | None = None,
    cache_type: CacheType = "float32",
) -> Model:
    """The model that a checkpoint describes, ready to run.

    `weights` is `float32` (each tensor decoded once), `packed` (decoded tile by tile while
    computing; least memory), `u8` (a byte a weight where the scheme is made of integers and scales,
    packed elsewhere) or `auto` (the same, and float32 elsewhere). `arithmetic_mode` is `fast`, or
    `exact` for logits that are the same bits on every machine. `compute` is the contract of all
    products with quantized matrices, or `weight-only`, in place of what the file says of each;
    a static contract takes the place of those of its own width, whose scales the file holds.
    `precision` is the type to which states and float weights are rounded, in place of the file's;
    `cache_type` that in which keys and values are kept.
    With `workers`, so many processes share the products, this one among them, with one thread of
    BLAS each, and the results are the same bits for any number of them; they end with the model.
    Without, this process computes alone, with the threads that BLAS takes.
    Raises UnsupportedError for a checkpoint without a known architecture, and for a scheme that
    cannot be computed under its contract; FormatError for tensors that are not this
    architecture's, or not finite.
    """
    if weights not in WEIGHT_MODES:
        raise UsageError(f"weights can be {', '.join(WEIGHT_MODES)}, not {weights!r}")
    architecture = checkpoint.need_architecture()
    if architecture.family in ENCODERS:
        raise UnsupportedError(
            f"a model of family {architecture.family} writes no text; it makes embeddings "
            "(refquant embed, refquant.runtime.load_encoder)"
        )
    check(architecture, _shapes(checkpoint, architecture))
    own = compute_precision(checkpoint.extensions) if precision is None else precision
    if own not in PRECISIONS or cache_type not in CACHE_TYPES:
        raise UsageError(
            f"precision can be {', '.join(PRECISIONS)}, and a cache {', '.join(CACHE_TYPES)}; "
            f"not {own!r} and {cache_type!r}"
        )
    if compute is not None:
        checkpoint = _under(checkpoint, compute)
    held = in_precision(checkpoint, own)
    with arithmetic(arithmetic_mode):
        crew = None if workers is None else Crew(workers)
        network = LOADERS[architecture.family](held, architecture, weights, crew)
    return_freed_memory()
    if crew is not None:
        crew.start()
    return Model(architecture, network, held, weights, arithmetic_mode, crew, own, cache_type)


def _under(checkpoint: Checkpoint, compute: str) -> Checkpoint:
    """The same checkpoint with another contract; matrices of floats have none to follow."""
    contracts: dict[str, MatrixContract] = {}
    if compute in STATIC:
        contracts = _calibrated(checkpoint, compute)
    elif compute != "weight-only":
        from refquant.recipe.assignment import subject  # noqa: PLC0415 - slow, rarely needed

        if compute not in ACTIVATIONS:
            listed = ", ".join(["weight-only", *ACTIVATIONS])
            raise UsageError(f"compute can be {listed}, not {compute!r}")
        for name in checkpoint.tensors:
            facts = subject(checkpoint.tensors, name)
            if len(facts.shape) > 1 and not facts.scheme.name.startswith("float/"):
                contracts[name] = MatrixContract(compute)
        if not contracts:
            raise UnsupportedError(
                f"no matrix of this model is quantized, so none can be computed under {compute}"
            )
    others = {
        name: entry for name, entry in checkpoint.extensions.items() if name != COMPUTE_EXTENSION
    }
    return replace(checkpoint, extensions={**others, **compute_extension(contracts)})


def _calibrated(checkpoint: Checkpoint, compute: str) -> dict[str, MatrixContract]:
    """The file's contracts, with another static one where codes have the same bits."""
    stored = compute_contracts(checkpoint.extensions, checkpoint.tensors)
    changed = {
        name: MatrixContract(compute, own.parameters)
        for name, own in stored.items()
        if own.name in STATIC and STATIC[own.name].bits == STATIC[compute].bits
    }
    if not changed:
        raise UnsupportedError(
            f"this file has no calibrated scales of {STATIC[compute].bits} bits, which {compute} "
            "computes with; refquant quantize writes them for a recipe of static rules"
        )
    return stored | changed


def _shapes(checkpoint: Checkpoint, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes by name; an output matrix that is an alias of the embedding is what `tied` means."""
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    tied = architecture.fields.get("tied_embeddings") is True
    for name, target in checkpoint.aliases.items():
        if not (tied and name == "output.weight" and target == "token_embd.weight"):
            shapes[name] = shapes[target]
    return shapes
