"""Small models of every family as directories, and the states that transformers gives for them.

`tests/data/architectures` was written once by `tests/differential/golden_architectures.py`; what
each file holds, and how its bounds come about, stands in that folder's `workers`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refquant.formats import open_checkpoint
from refquant.runtime import load_encoder, load_model

GOLDEN = Path(__file__).parent / "data" / "architectures"
NAMES = sorted(config.parent.name for config in GOLDEN.glob("*/config.json"))


@dataclass(frozen=True)
class States:
    """Exact states f64[t, n] behind every layer, and a bound f32[t, n] on each number's error."""

    tokens: list
    exact: dict
    bound: dict

    def strays(self, seen):
        """For each state how far the worst number is off, in units of its bound."""
        assert seen.keys() >= self.exact.keys()
        return {
            name: float(np.max(np.abs(seen[name] - exact) / self.bound[name]))
            for name, exact in self.exact.items()
        }


def states_in(folder, bound="bound"):
    """What `states.npz` of a model's directory says."""
    with np.load(folder / "states.npz") as file:
        found = dict(file)
    exact = {name: found[name] for name in found if f"{name}.{bound}" in found}
    return States(
        found["tokens"].tolist(), exact, {name: found[f"{name}.{bound}"] for name in exact}
    )


def run(checkpoint, tokens, weights="float32", parts=None, mode="fast"):
    """Our states, by name; `parts` cuts the tokens into several calls."""
    seen = {}

    def watch(name, state):
        seen.setdefault(name, []).append(state.copy())

    if checkpoint.architecture.family == "bert":
        load_encoder(checkpoint, weights, mode).states(tokens, watch=watch)
    else:
        model = load_model(checkpoint, weights, mode)
        cache = model.new_cache(len(tokens))
        for part in parts or [tokens]:
            watch("logits", model.forward(part, cache, watch=watch))
    return {name: np.concatenate(states) for name, states in seen.items()}


def golden(name):
    """The checkpoint and its states."""
    return open_checkpoint(GOLDEN / name), states_in(GOLDEN / name)
