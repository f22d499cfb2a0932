"""The container beside safetensors: opening, one tensor, all tensors, writing; what is touched.

Both libraries get the same bytes under the same names. Files lie in the folder that TMPDIR names;
writing is timed until the disk has the bytes, with the same call for both.
"""

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open

from bench.timing import Comparison, compare
from refquant import mp1, scheme
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import read, write_checkpoint
from refquant.library import cached_path
from refquant.tensor import QuantizedTensor

__all__ = ["ONE", "container_facts", "container_rows", "mapped_bytes", "sparse_rq"]

Arrays = Mapping[str, NDArray[np.uint8]]

LAYER = {
    "attn_k": (1024, 4096),
    "attn_output": (4096, 4096),
    "attn_q": (4096, 4096),
    "attn_v": (1024, 4096),
    "ffn_down": (4096, 14336),
    "ffn_gate": (14336, 4096),
    "ffn_up": (14336, 4096),
}
"""Matrices of one of the 32 layers of an 8-billion-weight Llama."""

ONE = "blk.17.attn_q.weight"


def shapes() -> dict[str, tuple[int, ...]]:
    """Every matrix of that model."""
    layers = {f"blk.{i}.{n}.weight": s for i in range(32) for n, s in LAYER.items()}
    return {**layers, "output.weight": (128256, 4096), "token_embd.weight": (128256, 4096)}


def checksums(size: int) -> tuple[int, bytes]:
    """CRC-32 and SHA-256 of so many zeros."""
    return zlib.crc32(bytes(size)), sha256(bytes(size)).digest()


def sparse_rq(path: Path) -> int:
    """A file of 8.5 GB whose codes are holes; returns the bytes before its first tensor.

    Only `ONE` has its right checksums: those of the others are not asked for.
    """
    layout = scheme("ggml/q8_0").layout
    names = sorted(shapes())
    tensors = [
        {"name": n, "planes": {"blocks": [i]}, "scheme": 0, "shape": list(shapes()[n])}
        for i, n in enumerate(names, 1)
    ]
    core = {"docs": [], "schemes": [layout.describe()], "tensors": tensors}
    header = mp1.encode({"core": core, "info": {}})
    sizes = [layout.plane_nbytes("blocks", shapes()[n]) for n in names]
    start = 64 + 64 * (1 + len(names))
    front = end = start + len(header)
    entry = struct.Struct("<QQQIBBH32s")
    digest = sha256(header).digest()
    table = entry.pack(start, len(header), len(header), zlib.crc32(header), 0, 0, 0, digest)
    for name, size in zip(names, sizes, strict=True):
        offset = -(-end // 64) * 64
        crc, digest = checksums(size) if name == ONE else (0, bytes(32))
        table += entry.pack(offset, size, size, crc, 0, 1, 0, digest)
        end = offset + size
    fixed = struct.pack("<8sHHIQII", b"\x89RQF\r\n\x1a\n", 1, 0, 0, end, 1 + len(sizes), 0)
    with path.open("wb") as file:
        file.write(fixed + sha256(fixed + table).digest() + table + header)
        file.truncate(end)
    return front


def sparse_safetensors(path: Path) -> None:
    """The same bytes, as holes, in the other container."""
    layout = scheme("ggml/q8_0").layout
    header, end = {}, 0
    for name in sorted(shapes()):
        size = layout.plane_nbytes("blocks", shapes()[name])
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def mapped_bytes(path: Path) -> int:
    """Bytes of a mapped file that this process has touched."""
    text = Path("/proc/self/smaps").read_text("utf-8")
    found, inside = 0, False
    for line in text.splitlines():
        words = line.split()
        if "-" in words[0]:
            inside = words[-1] == str(path)
        elif inside and words[0] == "Rss:":
            found += int(words[1]) << 10
    return found


def one_of_safetensors(path: Path, name: str) -> object:
    """One tensor of a file."""
    with safe_open(path, framework="numpy") as file:
        return file.get_tensor(name)


def opened(path: Path) -> object:
    """A file that safetensors has opened."""
    with safe_open(path, framework="numpy") as file:
        return file.keys()


def large_rows(folder: Path) -> Iterator[Comparison]:
    """Opening the large file, and reading one tensor of it."""
    ours, theirs = folder / "large.rq", folder / "large.safetensors"
    sparse_rq(ours)
    sparse_safetensors(theirs)
    yield compare(
        "open 8.5 GB, 226 tensors",
        lambda: read(ours),
        "safe_open",
        lambda: opened(theirs),
        per=1000,
    )
    yield compare(
        "open it, read one of 17.8 MB",
        lambda: read(ours).tensors[ONE].planes,
        "safe_open, get_tensor",
        lambda: one_of_safetensors(theirs, ONE),
        per=1000,
    )


def touched(folder: Path) -> Iterator[tuple[str, str]]:
    """What opening the large file and reading one tensor of it bring into memory."""
    path = folder / "large.rq"
    front = sparse_rq(path)
    checkpoint = read(path)
    yield "preamble, table and header", f"{front} bytes"
    yield "mapped memory after opening", f"{mapped_bytes(path)} bytes of {path.stat().st_size}"
    before = mapped_bytes(path)
    size = checkpoint.tensors[ONE].planes["blocks"].nbytes
    yield f"mapped memory more, after a tensor of {size}", f"{mapped_bytes(path) - before} bytes"


def smollm2() -> Checkpoint | None:
    """SmolLM2 in memory, None where it has not been pulled."""
    path = Path(os.environ.get("REFQUANT_SMOLLM2", cached_path("smollm2-135m")))
    if not path.exists():
        return None
    lazy = open_checkpoint(path)
    tensors = {name: in_memory(tensor) for name, tensor in lazy.tensors.items()}
    return replace(lazy, tensors=tensors)


def in_memory(tensor: QuantizedTensor) -> QuantizedTensor:
    """A tensor that maps no file."""
    planes = {name: plane.copy() for name, plane in tensor.planes.items()}
    return QuantizedTensor.from_planes(tensor.scheme, tensor.shape, planes, tensor.axis)


def planes_of(checkpoint: Checkpoint) -> Arrays:
    """All planes, under names that safetensors can keep."""
    return {
        f"{name}/{plane}": data
        for name, tensor in checkpoint.tensors.items()
        for plane, data in tensor.planes.items()
    }


def read_rq(path: Path, verify: str) -> int:
    """Every plane as an array, and every byte of it looked at."""
    return sum(touch(data) for data in planes_of(read(path, verify=verify)).values())


def read_safetensors(path: Path) -> int:
    """The same with the other library."""
    return sum(touch(data) for data in safetensors.numpy.load_file(path).values())


def touch(data: NDArray[np.uint8]) -> int:
    """One byte of each page."""
    return int(data.reshape(-1)[::4096].sum())


def save_safetensors(arrays: Arrays, path: Path) -> None:
    """Write, and wait for the disk as we do."""
    safetensors.numpy.save_file(dict(arrays), path)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def model_rows(checkpoint: Checkpoint, folder: Path) -> Iterator[Comparison]:
    """Reading and writing a whole model."""
    ours, theirs = folder / "model.rq", folder / "model.safetensors"
    yield from writing_rows(checkpoint, ours, theirs)
    for verify in ("trust", "fast", "full"):
        yield compare(
            f"read all of SmolLM2, {verify}",
            lambda v=verify: read_rq(ours, v),
            "load_file",
            lambda: read_safetensors(theirs),
            per=1000,
            rounds=15,
        )


def writing_rows(checkpoint: Checkpoint, ours: Path, theirs: Path) -> Iterator[Comparison]:
    """Writing a whole model: over the file of the round before, then under a new name each time.

    We write beside the old file and replace it in one step, the peer writes into it; both free what
    it took.
    """
    arrays = planes_of(checkpoint)
    yield compare(
        "write SmolLM2, fsync, replacing",
        lambda: write_checkpoint(ours, checkpoint),
        "save_file and fsync",
        lambda: save_safetensors(arrays, theirs),
        per=1000,
        rounds=15,
    )
    numbers = count()

    def new(path: Path) -> Path:
        return path.with_name(f"new-{next(numbers)}{path.suffix}")

    yield compare(
        "write SmolLM2, fsync, new file",
        lambda: write_checkpoint(new(ours), checkpoint),
        "save_file and fsync",
        lambda: save_safetensors(arrays, new(theirs)),
        per=1000,
        rounds=15,
    )
    for path in ours.parent.glob("new-*"):
        path.unlink()


def container_rows() -> Iterator[Comparison]:
    """Microseconds of each task; the peer is safetensors."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from large_rows(folder)
        checkpoint = smollm2()
        if checkpoint is not None:
            yield from model_rows(checkpoint, folder)


def container_facts() -> Iterator[tuple[str, str]]:
    """What was measured that is no time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from touched(folder)
        checkpoint = smollm2()
        if checkpoint is None:
            yield "SmolLM2", "not here; `refquant pull smollm2-135m` fetches it"
            return
        path = folder / "model.rq"
        write_checkpoint(path, checkpoint)
        content = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
        content += sum(len(document.data) for document in checkpoint.documents.values())
        if checkpoint.tokenizer is not None:
            content += len(checkpoint.tokenizer.json)
        more = path.stat().st_size - content
        yield "SmolLM2: bytes beyond tensors and texts", f"{more}, {100 * more / content:.3f} %"
