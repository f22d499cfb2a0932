"""Packs about files: containers of the corpus, and the tokenizer of the embedded model."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from conformance.generators.writer import PackWriter
from refquant.conformance.containers import file_digests, in_order, names_text
from refquant.errors import ConformanceError, FormatError, UnsupportedError

__all__ = ["STAGES", "refused", "valid"]

ROOT = Path(__file__).resolve().parents[1]
CORPUS = "files/container"
STAGES = ("S0", "S1", "S2", "S3", "S4", "S5", "S6", "S8")
"""The stages of chapter 2 in which files of the corpus are refused."""

OPERATORS = b"\xa3ops"
"""The key of a layout that has operators, as MessagePack writes it."""


def _manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / CORPUS / "manifest.json").read_text("utf-8"))
    return found


def _params(path: str) -> dict[str, str]:
    digest = sha256((ROOT / path).read_bytes()).hexdigest()
    return {"file": path, "verify": "full", "sha256": digest}


def _features(path: str, entry: dict[str, Any]) -> list[str]:
    """What a reader has to know; one without operators refuses every file that has some."""
    if OPERATORS in (ROOT / path).read_bytes():
        return ["container.operators"]
    return ["container.zstd" if "without_zstd" in entry else "container.raw"]


def valid(part: int) -> Callable[[PackWriter], None]:
    """Files that every reader accepts: those whose names have an even digest, or an odd one.

    So a file that comes to the corpus leaves all others where they are.
    """

    def make(writer: PackWriter) -> None:
        for name, entry in sorted(_manifest()["valid"].items()):
            if sha256(name.encode()).digest()[0] % 2 == part:
                _add_valid(writer, name, entry)

    return make


def _add_valid(writer: PackWriter, name: str, entry: dict[str, Any]) -> None:
    path = f"{CORPUS}/valid/{name}"
    shapes = {key: tuple(one["shape"]) for key, one in entry["tensors"].items()}
    text = names_text(shapes, tuple(entry["documents"]))
    expected = {
        "tensors": _rows([entry["tensors"][key]["sha256"] for key in in_order(shapes)]),
        "documents": _rows([entry["documents"][k] for k in in_order(tuple(entry["documents"]))]),
        "names": _rows([sha256(text.encode()).hexdigest()]),
    }
    found = file_digests(ROOT / path, "full")
    if any(found[key].tobytes() != one.tobytes() for key, one in expected.items()):
        raise ConformanceError(f"{path}: the package reads something else than the manifest says")
    writer.add(
        f"container.valid.{name.removesuffix('.rq')}",
        "container",
        _params(path),
        {},
        expected,
        features=_features(path, entry),
        why=name.removesuffix(".rq").replace("_", " "),
    )


def refused(stage: str) -> Callable[[PackWriter], None]:
    """Files with one defect, which show in one stage of reading."""

    def make(writer: PackWriter) -> None:
        for name, entry in sorted(_manifest()["reject"].items()):
            if entry["stage"] == stage:
                _add_refused(writer, name, entry)

    return make


def _add_refused(writer: PackWriter, name: str, entry: dict[str, Any]) -> None:
    path = f"{CORPUS}/reject/{name}"
    try:
        file_digests(ROOT / path, "full")
    except (FormatError, UnsupportedError) as error:
        if error.code != entry["code"]:
            raise ConformanceError(f"{path}: the package says {error.code}") from error
    else:
        raise ConformanceError(f"{path}: the package accepts it")
    empty = np.zeros((0, 32), np.uint8)
    writer.add(
        f"container.refused.{name.removesuffix('.rq')}",
        "container",
        _params(path),
        {},
        {"tensors": empty, "documents": empty, "names": np.zeros((1, 32), np.uint8)},
        features=_features(path, entry),
        outcome="rejected",
        code=entry["code"],
        flags=(entry["stage"],),
        why=name.removesuffix(".rq").replace("_", " "),
    )


def _rows(digests: list[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    raw = bytes.fromhex("".join(digests))
    return np.frombuffer(raw, np.uint8).reshape(len(digests), 32)
