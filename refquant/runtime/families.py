"""The one table from a family's name to the code that runs it.

To add a family: describe it in `refquant/architectures/`. A decoder whose layers are made of the
parts of `blocks.py` needs no more than its line here; another kind of model its own forward pass.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import Architecture
from refquant.formats.checkpoint import Checkpoint
from refquant.runtime.cache import Cache
from refquant.runtime.decoder import Watch, watch_nothing
from refquant.runtime.decoder_weights import read_decoder
from refquant.runtime.ops import Floats
from refquant.runtime.weights import WeightMode
from refquant.runtime.workers import Crew

__all__ = ["ENCODERS", "LOADERS", "Network"]


class Network(Protocol):
    """What every family that writes text offers."""

    def new_cache(self, capacity: int) -> Cache:
        """Room for the keys and values of `capacity` positions."""

    def forward(
        self,
        tokens: NDArray[np.int64],
        cache: Cache,
        *,
        rows: NDArray[np.int64] | None = None,
        watch: Watch = watch_nothing,
    ) -> Floats:
        """Logits f32[t, v] of all `tokens`, or f32[m, v] of those at the m places `rows`.

        `watch` is shown the state behind each layer.
        """


ENCODERS: Final = frozenset({"bert"})
"""The families that turn text into vectors; `encoder.py` runs them."""

Loader = Callable[[Checkpoint, Architecture, WeightMode, Crew | None], Network]

LOADERS: Final[Mapping[str, Loader]] = {
    "llama": read_decoder,
    "qwen2": read_decoder,
    "qwen3": read_decoder,
    "qwen3_moe": read_decoder,
    "gemma2": read_decoder,
    "gemma3": read_decoder,
    "phi3": read_decoder,
    "gpt2": read_decoder,
    "gpt_oss": read_decoder,
    "dream": read_decoder,
    "llada": read_decoder,
    "sdar": read_decoder,
}
