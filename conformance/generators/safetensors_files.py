"""Packs about another container, safetensors, and its small files: valid ones, and one defect each.

Every kind of defect comes twice, in two packs, so that a reader that lacks a check fails in both.
Values are told from the bytes by hand; the package has to read the same.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from conformance.generators.writer import PackWriter
from conformance.oracle import binary
from refquant.conformance.containers import file_digests, in_order, names_text
from refquant.errors import ConformanceError, FormatError, UnsupportedError

__all__ = ["FILES", "PACKS"]

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "files/safetensors"
Entry = tuple[str, tuple[int, ...], bytes]

F32 = struct.pack("<4f", 1.0, -0.0, 3.5, -1e30)
F16 = bytes.fromhex("003c00bc007e0104")
BF16 = bytes.fromhex("803f80bf0100c07f")
OTHER = struct.pack("<2f", 7.0, -2.25)


def _header(header: Any, data: bytes, *, padding: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * padding
    return struct.pack("<Q", len(text)) + text + data


def _entries(tensors: Mapping[str, Entry]) -> tuple[dict[str, Any], bytes]:
    header: dict[str, Any] = {}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        ends = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": ends}
        data += raw
    return header, data


def _whole(tensors: Mapping[str, Entry], **more: Any) -> bytes:
    header, data = _entries(tensors)
    return _header({**more, **header}, data, padding=3)


VALID: Mapping[str, Mapping[str, Entry]] = {
    "one": {"w": ("F32", (2, 2), F32)},
    "types": {
        "a": ("F16", (4,), F16),
        "b": ("BF16", (2, 2), BF16),
        "c": ("U8", (3,), b"\0\x7f\xff"),
    },
    "shapes": {
        "none": ("F32", (), F32[:4]),
        "empty": ("F32", (0, 3), b""),
        "row": ("I8", (1, 2), b"\x80\x01"),
    },
    "names": {
        "b.weight": ("F32", (2,), OTHER),
        "a/\u00e4": ("F32", (1,), F32[:4]),
        "": ("U8", (1,), b"\x05"),
    },
}
"""By name; the order of tensors is that of their bytes, not that of their names."""


def _plain() -> tuple[dict[str, Any], bytes]:
    return _entries({"a": ("F32", (2, 2), F32), "b": ("F32", (2,), OTHER)})


def _changed(change: Callable[[dict[str, Any]], Any], data: bytes | None = None) -> bytes:
    header, plain = _plain()
    change(header)
    return _header(header, plain if data is None else data)


def _set(name: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].__setitem__(key, value)


def _text() -> bytes:
    return json.dumps(_plain()[0]).encode()


DATA = F32 + OTHER
DEFECTS: Mapping[str, tuple[str, Sequence[bytes]]] = {
    "overlap": (
        "E_SAFETENSORS_RANGE",
        (_changed(_set("b", "data_offsets", [8, 16])), _changed(_set("b", "data_offsets", [0, 8]))),
    ),
    "hole": (
        "E_SAFETENSORS_RANGE",
        (
            _changed(_set("b", "data_offsets", [20, 28]), F32 + b"\0\0\0\0" + OTHER),
            _changed(lambda h: h.pop("a")),
        ),
    ),
    "bytes-behind": (
        "E_SAFETENSORS_RANGE",
        (_header(_text(), DATA + b"\0"), _header(_text(), DATA * 2)),
    ),
    "short": ("E_SAFETENSORS_RANGE", (_header(_text(), DATA[:-1]), _header(_text(), b""))),
    "size": (
        "E_SAFETENSORS_SIZE",
        (_changed(_set("a", "shape", [2, 3])), _changed(_set("b", "dtype", "F16"))),
    ),
    "long-header": (
        "E_SAFETENSORS_TRUNCATED",
        (struct.pack("<Q", 4096) + _text(), struct.pack("<Q", len(_text()) + 1) + _text()),
    ),
    "huge-header": (
        "E_SAFETENSORS_HEADER",
        (struct.pack("<Q", 1 << 63) + _text() + DATA, struct.pack("<Q", 100_000_001) + _text()),
    ),
    "cut": ("E_SAFETENSORS_TRUNCATED", (b"", struct.pack("<Q", 2)[:7])),
    "no-object": ("E_SAFETENSORS_HEADER", (_header(b"[]", b""), _header(b'"a"', b""))),
    "type": (
        "E_SAFETENSORS_DTYPE",
        (_changed(_set("a", "dtype", "F33")), _changed(_set("a", "dtype", "f32"))),
    ),
    "members": (
        "E_SAFETENSORS_ENTRY",
        (_changed(lambda h: h["a"].pop("shape")), _changed(_set("b", "shape", [-2]))),
    ),
    "ends": (
        "E_SAFETENSORS_ENTRY",
        (_changed(_set("b", "data_offsets", [24, 16])), _changed(_set("b", "data_offsets", [16]))),
    ),
}
"""Two files for each kind, and the code of the package for it."""


def _files() -> dict[str, bytes]:
    found = {f"valid-{name}": _whole(one) for name, one in VALID.items()}
    found["valid-metadata"] = _whole(VALID["one"], __metadata__={"format": "pt"})
    for kind, (_, both) in DEFECTS.items():
        found |= {f"{kind}-{number}": raw for number, raw in enumerate(both)}
    return found


FILES: dict[str, Callable[[], bytes]] = {
    f"{FOLDER}/{name}.safetensors": (lambda raw=raw: raw) for name, raw in _files().items()
}
"""What makes each file."""

WIDE = {
    "F16": ("<H", binary.FLOAT16),
    "BF16": ("<H", binary.BFLOAT16),
    "F32": ("<I", binary.FLOAT32),
}


def _values(dtype: str, raw: bytes) -> bytes:
    """The bytes of the values in binary32, every NaN as 7fc00000, number by number."""
    if dtype in ("U8", "I8"):
        return b"".join(struct.pack("<f", b - 256 * (dtype == "I8" and b > 127)) for b in raw)
    letter, form = WIDE[dtype]
    found = b""
    for (code,) in struct.iter_unpack(letter, raw):
        value = binary.decode(code, form)
        found += struct.pack("<f", value) if value == value else b"\0\0\xc0\x7f"  # noqa: PLR0124
    return found


def _expected(tensors: Mapping[str, Entry]) -> dict[str, np.ndarray[Any, Any]]:
    digests = [sha256(_values(tensors[n][0], tensors[n][2])).digest() for n in in_order(tensors)]
    shapes = {name: one[1] for name, one in tensors.items()}
    names = sha256(names_text(shapes, ()).encode()).digest()
    return {
        "tensors": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        "documents": np.zeros((0, 32), np.uint8),
        "names": np.frombuffer(names, np.uint8).reshape(1, 32),
    }


def _params(name: str) -> dict[str, str]:
    path = f"{FOLDER}/{name}.safetensors"
    return {"file": path, "verify": "full", "sha256": sha256(FILES[path]()).hexdigest()}


def _part(number: int) -> Callable[[PackWriter], None]:
    """Half of the valid files, and one file of each kind of defect."""

    def make(writer: PackWriter) -> None:
        valid = {**VALID, "metadata": VALID["one"]}
        for name in list(valid)[number::2]:
            _add(writer, f"valid-{name}", _expected(valid[name]), "")
        for kind, (code, _) in DEFECTS.items():
            _add(writer, f"{kind}-{number}", NOTHING, code)

    return make


NOTHING = {
    "tensors": np.zeros((0, 32), np.uint8),
    "documents": np.zeros((0, 32), np.uint8),
    "names": np.zeros((1, 32), np.uint8),
}


def _add(
    writer: PackWriter, name: str, expected: Mapping[str, np.ndarray[Any, Any]], code: str
) -> None:
    _check(f"{FOLDER}/{name}.safetensors", expected, code)
    writer.add(
        f"container.safetensors.{name}",
        "container",
        _params(name),
        {},
        expected,
        features=["container.safetensors"],
        clauses=("S-11",),
        outcome="rejected" if code else "ok",
        code=code,
        why=f"safetensors: {name[:-2].replace('-', ' ') if code else name.replace('-', ' ')}",
    )


def _check(path: str, expected: Mapping[str, np.ndarray[Any, Any]], code: str) -> None:
    try:
        found = file_digests(ROOT / path, "full")
    except (FormatError, UnsupportedError) as error:
        if error.code != code:
            raise ConformanceError(f"{path}: the package says {error.code}, not {code}") from error
        return
    if code or any(found[key].tobytes() != one.tobytes() for key, one in expected.items()):
        raise ConformanceError(f"{path}: the package reads something else")


PACKS: dict[str, tuple[str, Callable[[PackWriter], None]]] = {
    f"container/safetensors-{k}": (f"safetensors files, part {k}", _part(k)) for k in (0, 1)
}
