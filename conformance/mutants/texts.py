"""Tokenizers that do one thing else."""

import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from conformance.mutants import OperationMutant
from refquant.conformance.operations import Arrays, Task, perform

__all__ = ["MUTANTS"]


def _on_text(change: Callable[[str], str]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        text = change(task.inputs["text"].tobytes().decode("utf-8"))
        raw = np.frombuffer(text.encode("utf-8"), np.uint8)
        return perform(replace(task, inputs={"text": raw}))

    return compute


def _back(change: Callable[[str], str]) -> Callable[[Task], Arrays]:
    def compute(task: Task) -> Arrays:
        text = change(perform(task)["text"].tobytes().decode("utf-8"))
        return {"text": np.frombuffer(text.encode("utf-8"), np.uint8)}

    return compute


def _one_byte_a_token(task: Task) -> Arrays:
    return {"ids": task.inputs["text"].astype(np.int32)}


MUTANTS: tuple[OperationMutant, ...] = tuple(
    OperationMutant(f"tokenizer-{name}", op, change, compute)
    for name, op, change, compute in (
        (
            "composes",
            "tokenize",
            "brings text to NFC first",
            _on_text(lambda text: unicodedata.normalize("NFC", text)),
        ),
        ("no-merges", "tokenize", "merges nothing", _one_byte_a_token),
        (
            "prefix-space",
            "tokenize",
            "puts a space before the text",
            _on_text(lambda text: " " + text),
        ),
        ("strips-back", "detokenize", "strips the text", _back(str.strip)),
    )
)
"""Every mutant of this file."""
