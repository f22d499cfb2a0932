"""The operations of the suite on files: containers, models and tokenizers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import tokenizers

from refquant.conformance.containers import file_digests
from refquant.conformance.operations import Arrays, Task
from refquant.formats import open_checkpoint
from refquant.runtime import load_model
from refquant.runtime.trace import Trace

__all__ = ["perform"]


def perform(task: Task) -> Arrays:
    """The outputs of one of these four operations."""
    return _OPERATIONS[task.op](task)


def _container(task: Task) -> Arrays:
    return file_digests(Path(task.params["file"]), task.params["verify"])


def _model(task: Task) -> Arrays:
    model = load_model(open_checkpoint(Path(task.params["file"])), arithmetic_mode="exact")
    trace, ids = Trace(), task.inputs["tokens"]
    logits = model.forward(ids, model.new_cache(len(ids)), watch=trace.watch)
    return {**trace.states, "logits": logits}


def _tokenize(task: Task) -> Arrays:
    text = task.inputs["text"].tobytes().decode("utf-8")
    found = _tokenizer(task).encode(text, add_special_tokens=False)
    return {"ids": np.array(found.ids, np.int32)}


def _detokenize(task: Task) -> Arrays:
    text = _tokenizer(task).decode(task.inputs["ids"].tolist(), skip_special_tokens=False)
    return {"text": np.frombuffer(text.encode("utf-8"), np.uint8)}


def _tokenizer(task: Task) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(task.params["file"]))


_OPERATIONS: Final[Mapping[str, Callable[[Task], Arrays]]] = {
    "container": _container,
    "model": _model,
    "tokenize": _tokenize,
    "detokenize": _detokenize,
}
