"""The reference engine: refquant behind the protocol of `conformance/SPEC.md`.

    refquant conformance run --engine 'python -m refquant.conformance.reference'

It is also the shortest example of an adapter: a loop, a function that reads arrays, one that writes
them.
"""

import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refquant
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.operations import OPERATIONS, Arrays, Task, fitted, perform
from refquant.driver import Scheme
from refquant.errors import FormatError, UnsupportedError
from refquant.schemes import scheme as find_scheme

__all__ = ["answer", "main", "serve", "task_of"]

Message = Mapping[str, Any]
CODEBOOKS = ("ggml/iq1", "ggml/iq2", "ggml/iq3")


def task_of(message: Message, find: Callable[[str], Scheme] = find_scheme) -> Task:
    """The task in a `run` message, with its input arrays read."""
    outputs = {one["name"]: (DTYPES[one["dtype"]], tuple(one["shape"])) for one in message["out"]}
    files = {path: Path(path).read_bytes() for path in {one["path"] for one in message["in"]}}
    inputs = {one["name"]: _array(one, files[one["path"]]) for one in message["in"]}
    return Task(message["op"], message["params"], inputs, outputs, find)


def _array(place: Message, file: bytes) -> NDArray[Any]:
    raw = file[place["off"] :][: place["len"]]
    return np.frombuffer(raw, DTYPES[place["dtype"]]).reshape(place["shape"])


def answer(message: Message, compute: Callable[[Task], Arrays] = perform) -> dict[str, Any]:
    """The answer to one message; its outputs are written on the way."""
    if message["cmd"] == "hello":
        return {
            "engine": {"name": "refquant", "version": refquant.__version__, "language": "Python"},
            "features": [*_features(), "axis", "tail"],
            "behaviours": {},
        }
    if message["cmd"] != "run":
        return {"outcome": "unsupported"}
    return {"seq": message["seq"], **_outcome(message, compute)}


CODED = ("decode", "encode", "unpack", "pack", "linear")
"""Operations whose features name schemes."""


def _features() -> list[str]:
    """Every operation; without the package that brings ggml's codebooks, all but their schemes."""
    if find_spec("gguf") is not None:
        return [f"{op}*" for op in OPERATIONS]
    names = [info.name for info in refquant.schemes() if not info.name.startswith(CODEBOOKS)]
    stems = {name.replace("/", "-") if name.startswith("ggml/") else name.partition("/")[0] + "-"
             for name in names}  # fmt: skip
    coded = [f"{op}.{stem}*" for op in CODED for stem in sorted(stems)]
    return [*coded, *(f"{op}*" for op in OPERATIONS if op not in CODED)]


def _outcome(message: Message, compute: Callable[[Task], Arrays]) -> dict[str, Any]:
    try:
        task = task_of(message)
        results = fitted(compute(task), task.outputs)
        for one in message["out"]:
            Path(one["path"]).write_bytes(np.ascontiguousarray(results[one["name"]]).tobytes())
        return {"outcome": "ok"}
    except FormatError as error:
        return {"outcome": "rejected", "code": error.code, "detail": error.message}
    except UnsupportedError as error:
        if error.code:
            return {"outcome": "rejected", "code": error.code, "detail": str(error)}
        return {"outcome": "unsupported", "detail": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever happens in a case, the loop goes on
        return {"outcome": "error", "detail": f"{type(error).__name__}: {error}"}


def serve(compute: Callable[[Task], Arrays] = perform) -> None:
    """Answer messages on standard input until `bye`."""
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "bye":
            return
        print("@rq " + json.dumps(answer(message, compute)), flush=True)  # noqa: T201 - the protocol


def main() -> None:
    """The process that the runner starts."""
    gc.freeze()  # what has been imported stays, and need not be looked through again and again
    gc.set_threshold(50_000)
    serve()
    sys.stdout.flush()
    os._exit(0)  # taking all modules down would cost a tenth of a second, and nothing is left open


if __name__ == "__main__":
    main()
