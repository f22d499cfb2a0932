"""The operations of the suite on tokenizers: text to ids and back."""

import numpy as np
import tokenizers

from refquant.conformance.operations import Arrays, Task

__all__ = ["perform"]


def perform(task: Task) -> Arrays:
    """The ids of a text, or the text of ids."""
    tokenizer = tokenizers.Tokenizer.from_file(str(task.params["file"]))
    if task.op == "tokenize":
        text = task.inputs["text"].tobytes().decode("utf-8")
        found = tokenizer.encode(text, add_special_tokens=False)
        return {"ids": np.array(found.ids, np.int32)}
    text = tokenizer.decode(task.inputs["ids"].tolist(), skip_special_tokens=False)
    return {"text": np.frombuffer(text.encode("utf-8"), np.uint8)}
