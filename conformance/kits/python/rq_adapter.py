"""The line protocol of `conformance/SPEC.md` in one file, without dependencies.

An engine is a function of a case that returns its outputs, as bytes by name. It raises
UnsupportedError for what it does not know, and RejectedError with a rule's code for input that
breaks a rule.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Array", "Case", "RejectedError", "UnsupportedError", "serve"]


class UnsupportedError(Exception):
    """A case that the engine does not know."""


class RejectedError(Exception):
    """Input that breaks a rule; the text is the rule's code."""


@dataclass(frozen=True)
class Array:
    """An input: bytes, little-endian in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Case:
    """What is asked. `outputs` are the dtype and shape of each output, by name."""

    op: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]


def serve(name: str, features: Sequence[str], run: Callable[[Case], Mapping[str, bytes]]) -> None:
    """Answer requests on standard input until `bye`."""
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "bye":
            return
        if message["cmd"] == "hello":
            answer = {"engine": {"name": name, "language": "Python"}, "features": list(features)}
        else:
            answer = {"seq": message.get("seq"), **_answer(message, run)}
        print("@rq " + json.dumps(answer), flush=True)


def _answer(message: Mapping[str, Any], run: Callable[[Case], Mapping[str, bytes]]) -> Any:
    if message["cmd"] != "run":
        return {"outcome": "unsupported"}
    try:
        inputs = {one["name"]: _read(one) for one in message["in"]}
        outputs = {one["name"]: (one["dtype"], tuple(one["shape"])) for one in message["out"]}
        written = run(Case(message["op"], message["params"], inputs, outputs))
        for one in message["out"]:
            Path(one["path"]).write_bytes(written[one["name"]])
    except UnsupportedError:
        return {"outcome": "unsupported"}
    except RejectedError as error:
        return {"outcome": "rejected", "code": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever happens in a case, the loop goes on
        return {"outcome": "error", "detail": f"{type(error).__name__}: {error}"}
    return {"outcome": "ok"}


def _read(place: Mapping[str, Any]) -> Array:
    with Path(place["path"]).open("rb") as file:
        file.seek(place["off"])
        return Array(place["dtype"], tuple(place["shape"]), file.read(place["len"]))
