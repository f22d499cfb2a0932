"""What the suite compares of a file of tensors: digests of values, documents and names."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from refquant.conformance.operations import Arrays, Task
from refquant.formats.rq import read
from refquant.formats.safetensors import read_safetensors

__all__ = ["file_digests", "in_order", "names_text", "perform"]


def perform(task: Task) -> Arrays:
    """The answer to a `container` case."""
    return file_digests(Path(task.params["file"]), task.params["verify"])


def file_digests(path: Path, verify: str) -> Mapping[str, NDArray[Any]]:
    """The answer to a `container` case, for a file that breaks no rule.

    `tensors` u8[n, 32] are the SHA-256 of the decoded values in the order of the tensors' names,
    values in binary32, every NaN as 7fc00000; `documents` u8[m, 32] are those of the documents in
    the order of their names; `names` is one of the text of `names_text`.
    """
    if path.suffix == ".safetensors":
        return _digests(_safetensors(path), {})
    checkpoint = read(path, verify=cast("Literal['fast', 'full', 'trust']", verify))
    tensors = {name: one.dequantize() for name, one in checkpoint.tensors.items()}
    documents = {name: one.data for name, one in checkpoint.documents.items()}
    if checkpoint.tokenizer is not None:
        documents["tokenizer.json"] = checkpoint.tokenizer.json
    return _digests(tensors, documents)


def _safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The values of a safetensors file in binary32; integers are taken as numbers."""
    found = {}
    for name, one in read_safetensors(path).tensors.items():
        raw = one.data.tobytes()
        if one.dtype in INTEGERS:
            values = np.frombuffer(raw, INTEGERS[one.dtype]).astype(np.float32)
        else:
            bits = np.frombuffer(raw, FLOATS[one.dtype])
            wide = bits.astype("<u4") << 16 if one.dtype == "BF16" else bits
            values = wide.view("<f4") if one.dtype == "BF16" else wide.astype(np.float32)
        found[name] = values.reshape(one.shape)
    return found


FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
INTEGERS = {"U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "BOOL": "u1"}


def _digests(
    tensors: Mapping[str, NDArray[np.float32]], documents: Mapping[str, bytes]
) -> Mapping[str, NDArray[Any]]:
    shapes = {name: values.shape for name, values in tensors.items()}
    return {
        "tensors": _rows([_values_digest(tensors[name]) for name in in_order(tensors)]),
        "documents": _rows([sha256(documents[name]).digest() for name in in_order(documents)]),
        "names": _rows([sha256(names_text(shapes, tuple(documents)).encode()).digest()]),
    }


def in_order(names: Mapping[str, Any] | tuple[str, ...]) -> list[str]:
    """Names by their bytes in UTF-8."""
    return sorted(names, key=lambda name: name.encode("utf-8"))


def names_text(shapes: Mapping[str, tuple[int, ...]], documents: tuple[str, ...]) -> str:
    """One line a tensor, name, tab and sizes with `x` between, then one a document."""
    lines = [f"{name}\t{'x'.join(map(str, shapes[name]))}\n" for name in in_order(shapes)]
    return "".join(lines + [f"{name}\n" for name in in_order(documents)])


def _values_digest(values: NDArray[np.float32]) -> bytes:
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    return sha256(bits.astype("<u4").tobytes()).digest()


def _rows(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), 32)
