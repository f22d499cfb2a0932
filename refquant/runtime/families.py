"""The one table from a family's name to the code that runs it.

To add a family: describe it in `refquant/architectures/`, write its forward pass and the reader of
its weights beside `llama.py` and `llama_weights.py`, and give it a line here.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import Architecture
from refquant.formats.checkpoint import Checkpoint
from refquant.runtime.cache import Cache
from refquant.runtime.config import LlamaConfig
from refquant.runtime.llama import Llama
from refquant.runtime.llama_weights import read_llama
from refquant.runtime.ops import Floats
from refquant.runtime.weights import WeightMode

__all__ = ["LOADERS", "Network"]


class Network(Protocol):
    """What every family offers."""

    def new_cache(self, capacity: int) -> Cache:
        """Room for the keys and values of `capacity` positions."""

    def forward(self, tokens: NDArray[np.int64], cache: Cache, *, last_only: bool) -> Floats:
        """Logits f32[t, v] for the token after each of `tokens`, or f32[1, v] after the last."""


def load_llama(checkpoint: Checkpoint, architecture: Architecture, mode: WeightMode) -> Llama:
    """A llama model out of a checkpoint whose tensors have been checked."""
    config = LlamaConfig.from_architecture(architecture)
    return Llama(config, read_llama(checkpoint, config, mode))


LOADERS: Final[Mapping[str, Callable[[Checkpoint, Architecture, WeightMode], Network]]] = {
    "llama": load_llama,
}
