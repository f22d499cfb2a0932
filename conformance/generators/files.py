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

__all__ = ["STAGES", "clauses_of", "refused", "valid"]

ROOT = Path(__file__).resolve().parents[1]
CORPUS = "files/container"
STAGES = ("S0", "S1", "S2", "S3", "S4", "S5", "S6", "S8")
"""The stages of chapter 2 in which files of the corpus are refused."""

OPERATORS = b"\xa3ops"
"""The key of a layout that has operators, as MessagePack writes it."""


RULES: dict[str, list[str]] = json.loads((ROOT / "container" / "rules.json").read_text("utf-8"))
"""By a rule of the specification, the files that show it."""

PARTS = {
    "element": "D-7",
    "digits": "D-8",
    "slice": "D-13",
    "order": "D-5",
    "turned": "D-5",
    "table": "D-16",
    "frame": "Z-2",
    "feature_documents": "H-9",
    "feature_aliases": "H-21",
    "feature_architecture": "H-23",
    "feature_tokenizer": "H-24",
    "feature_chat": "K-1",
    "feature_extension": "H-3",
    "feature_info": "H-2",
}
"""The rule of a valid file by how its name begins; H-12, a layout by chapter 5, for all others."""


def clauses_of(name: str, code: str = "") -> tuple[str, ...]:
    """What a file stands for: rules that name it, else its error code, or the rule of its part."""
    stem = f"{'reject' if code else 'valid'}/{name.removesuffix('.rq')}"
    shown = tuple(rule for rule, files in RULES.items() if stem in files)
    part = (rule for beginning, rule in PARTS.items() if name.startswith(beginning))
    return shown or (code or next(part, "H-12"),)


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
        clauses=clauses_of(name),
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
        clauses=clauses_of(name, entry["code"]),
        outcome="rejected",
        code=entry["code"],
        flags=(entry["stage"],),
        why=name.removesuffix(".rq").replace("_", " "),
    )


def _rows(digests: list[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    raw = bytes.fromhex("".join(digests))
    return np.frombuffer(raw, np.uint8).reshape(len(digests), 32)
