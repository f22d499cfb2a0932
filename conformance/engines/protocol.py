"""The protocol of `conformance/SPEC.md` for the adapters here: NumPy alone, in any environment.

An adapter calls `serve` with a table from (operation, scheme or kind) to a function. A function
gets the parameters and the input arrays, and gives the output arrays by name.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays", "RejectedError", "Table", "both", "f32", "serve", "stored"]

Arrays = Mapping[str, NDArray[Any]]
Table = dict[tuple[str, str], Callable[[Mapping[str, Any], Arrays], Arrays]]

KIND = {"integer_matmul": "", "requantize": "rounding", "quantize_rows": "contract"}


class RejectedError(Exception):
    """What an engine refuses because it breaks a rule; engines here have no codes for rules."""


def feature(op: str, name: str) -> str:
    """How a feature is spelled."""
    return f"{op}.{re.sub(r'[^A-Za-z0-9_.]+', '-', name).strip('-')}"


def f32(plane: NDArray[Any]) -> NDArray[np.float32]:
    """A plane of binary32 numbers, without the axis of the bytes."""
    return np.ascontiguousarray(plane).view("<f4")[..., 0]


def stored(array: NDArray[Any], size: int = 4) -> NDArray[np.uint8]:
    """Numbers as records of `size` bytes."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, size)


def both(
    table: Table,
    scheme: str,
    decode: Callable[[Arrays, tuple[int, ...]], NDArray[Any]] | None,
    encode: Callable[[NDArray[np.float32], NDArray[Any] | None], Arrays] | None = None,
) -> None:
    """Put what an engine does with a scheme into its table."""
    if decode is not None:
        table["decode", scheme] = lambda p, a: {"values": decode(a, tuple(p["shape"]))}
    if encode is not None:
        table["encode", scheme] = lambda _, a: encode(a["x"], a.get("importance"))


def _read(one: Mapping[str, Any]) -> NDArray[Any]:
    # bfloat16 arrays are handed over as their bits.
    dtype = np.dtype({"bf16": "<u2"}.get(one["dtype"]) or _dtype(one["dtype"]))
    with open(one["path"], "rb") as file:  # noqa: PTH123
        file.seek(one["off"])
        data = file.read(one["len"])
    return np.frombuffer(bytearray(data), dtype).reshape(one["shape"])


def _dtype(name: str) -> str:
    return f"<{name[0]}{int(name[1:]) // 8}"


def _write(one: Mapping[str, Any], array: NDArray[Any]) -> None:
    dtype = np.dtype({"bf16": "<u2"}.get(one["dtype"]) or _dtype(one["dtype"]))
    if array.size != math.prod(one["shape"]):
        raise ValueError(f"{one['name']}: {array.shape}, expected {one['shape']}")
    with open(one["path"], "r+b") as file:  # noqa: PTH123
        file.write(np.ascontiguousarray(array).astype(dtype, copy=False).tobytes())


def _run(table: Table, request: Mapping[str, Any]) -> dict[str, Any]:
    params, op = request["params"], request["op"]
    arrays = {one["name"]: _read(one) for one in request["in"]}
    name = params.get("scheme") or params.get(KIND.get(op, ""), "")
    if op == "integer_matmul":
        name = "".join(f"{'u' if arrays[k].dtype.kind == 'u' else 's'}8" for k in "ab")
    if op == "container":
        name = params["file"].rpartition(".")[2]
    if (op, name) not in table or int(params.get("axis", -1)) not in (-1, 1):
        return {"outcome": "unsupported"}
    with np.errstate(all="ignore"):
        found = table[op, name](params, arrays)
    for one in request["out"]:
        _write(one, np.asarray(found[one["name"]]))
    return {"outcome": "ok"}


def serve(
    name: str,
    version: str,
    language: str,
    table: Table,
    behaviours: Mapping[str, str] | None = None,
    max_bytes: int = 0,
) -> None:
    """Answer until the end of the input; arrays of more than `max_bytes`, if any, are not asked."""
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        if request["cmd"] == "bye":
            return
        if request["cmd"] == "hello":
            engine = {"name": name, "version": version, "language": language}
            answer = {"engine": engine, "features": [feature(*key) for key in table]}
            answer["behaviours"] = dict(behaviours or {})
            answer["limits"] = {"max_bytes": max_bytes}
        else:
            try:
                answer = _run(table, request)
            except RejectedError as error:
                answer = {"outcome": "rejected", "detail": str(error)[:300]}
            except Exception as error:  # noqa: BLE001 - the runner wants an answer
                answer = {"outcome": "error", "detail": f"{type(error).__name__}: {error}"[:300]}
            answer["seq"] = request["seq"]
        print("@rq", json.dumps(answer), flush=True)
