"""safetensors files made of bytes in the test's own hand, right or wrong on purpose."""

import json
import struct
from collections.abc import Mapping

Entry = tuple[str, tuple[int, ...], bytes]


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def build(tensors: Mapping[str, Entry], metadata: Mapping[str, str] | None = None) -> bytes:
    """A whole file; each tensor is its type, its shape and its bytes."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    return with_header(text + b" " * (-len(text) % 8), data)
