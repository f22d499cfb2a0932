"""The digest of the tensors alone, equal across compression, sharding and metadata."""

from hashlib import sha256

from refquant import mp1
from refquant.formats.checkpoint import Checkpoint

__all__ = ["tensors_digest"]


def tensors_digest(checkpoint: Checkpoint) -> str:
    """SHA-256, in hex, of every tensor's name, shape, layout and decoded bytes.

    It is taken over the RQ-MP1 bytes of `[[name, shape, layout, [[plane, bytes] ...]] ...]`,
    tensors and planes by name, where `layout` and `bytes` are SHA-256 digests: of the canonical
    description, and of the whole plane. Every plane is read once.
    """
    tensors: list[object] = []
    for name in sorted(checkpoint.tensors):
        tensor = checkpoint.tensors[name]
        planes = [
            [plane, sha256(tensor.planes[plane].reshape(-1).data).digest()]
            for plane in sorted(tensor.planes)
        ]
        layout = bytes.fromhex(tensor.layout.digest)
        tensors.append([name, list(tensor.shape), layout, planes])
    return sha256(mp1.encode(tensors)).hexdigest()
