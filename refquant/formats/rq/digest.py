"""The digest of the tensors alone, equal across compression, sharding and metadata."""

from collections.abc import Callable
from hashlib import sha256

from refquant import mp1
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq.read import StoredTensors

__all__ = ["tensors_digest"]


def tensors_digest(
    checkpoint: Checkpoint, progress: Callable[[str, int], None] | None = None
) -> str:
    """SHA-256, in hex, of every tensor's name, shape, layout and decoded bytes.

    It is taken over the RQ-MP1 bytes of `[[name, shape, layout, [[plane, bytes] ...]] ...]`,
    tensors and planes by name, where `layout` and `bytes` are SHA-256 digests: of the canonical
    description, and of the whole plane. Every plane is read once, in pieces where the file is
    `.rq`. `progress` is called with each tensor's name and bytes.
    """
    listed = []
    for name in sorted(checkpoint.tensors):
        listed.append(_entry(checkpoint, name))
        if progress is not None:
            progress(name, _nbytes(checkpoint, name))
    return sha256(mp1.encode(listed)).hexdigest()


def _entry(checkpoint: Checkpoint, name: str) -> list[object]:
    tensors = checkpoint.tensors
    if isinstance(tensors, StoredTensors):
        layout, shape = tensors.layout(name), tensors.shape(name)
        planes = [[plane, tensors.digest(name, plane)] for plane in sorted(layout.planes)]
    else:
        tensor = tensors[name]
        layout, shape = tensor.stored_layout, tensor.shape
        planes = [
            [plane, sha256(tensor.planes[plane].reshape(-1).data).digest()]
            for plane in sorted(tensor.planes)
        ]
    return [name, list(shape), bytes.fromhex(layout.digest), planes]


def _nbytes(checkpoint: Checkpoint, name: str) -> int:
    tensors = checkpoint.tensors
    if isinstance(tensors, StoredTensors):
        return tensors.layout(name).nbytes(tensors.shape(name))
    return tensors[name].nbytes
