"""The operation of the suite on whole models."""

from pathlib import Path

from refquant.conformance.operations import Arrays, Task
from refquant.formats import open_checkpoint
from refquant.runtime import load_model
from refquant.runtime.trace import Trace

__all__ = ["perform"]


def perform(task: Task) -> Arrays:
    """Logits, and the state behind each layer, in exact arithmetic where no other is named."""
    mode = task.params.get("arithmetic", "exact")
    model = load_model(open_checkpoint(Path(task.params["file"])), arithmetic_mode=mode)
    trace, ids = Trace(), task.inputs["tokens"]
    logits = model.forward(ids, model.new_cache(len(ids)), watch=trace.watch)
    return {**trace.states, "logits": logits}
