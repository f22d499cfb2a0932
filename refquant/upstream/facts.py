"""What a recipe may depend on: the few numbers of a model that decide which layers get more."""

from dataclasses import dataclass

from refquant.formats.checkpoint import Checkpoint

__all__ = ["ModelFacts", "facts_of"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as recipes see it; `is_tied`: the embedding is the output matrix as well."""

    layers: int = 0
    heads: int = 1
    key_value_heads: int = 1
    experts: int = 1
    is_tied: bool = False

    @property
    def queries_per_key(self) -> int:
        """How many heads share one head of keys."""
        return self.heads // max(self.key_value_heads, 1)


def facts_of(checkpoint: Checkpoint) -> ModelFacts:
    """The facts of a checkpoint; of one without an architecture, those that its tensors tell."""
    fields = {} if checkpoint.architecture is None else checkpoint.architecture.fields
    heads = int(fields.get("heads", 1))
    return ModelFacts(
        layers=int(fields.get("layers", 0)),
        heads=heads,
        key_value_heads=int(fields.get("key_value_heads", heads)),
        experts=int(fields.get("experts", 1)),
        is_tied="output.weight" not in checkpoint.tensors,
    )
