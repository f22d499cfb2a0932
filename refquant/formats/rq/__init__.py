"""`.rq`, the container that describes its own encoding: reading, writing, looking inside.

A file is a 64-byte preamble, a table of 64-byte entries, a header in RQ-MP1 and segments that
begin at multiples of 64 bytes. Chapter 2 of the specification explains it byte by byte. What only
writing needs is imported when first used, so that a model that is read starts sooner.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from refquant.formats.rq.contents import KNOWN_FEATURES, Contents, read_header
from refquant.formats.rq.digest import tensors_digest
from refquant.formats.rq.header import Header
from refquant.formats.rq.preamble import MAGIC, Preamble
from refquant.formats.rq.read import Verify, read
from refquant.formats.rq.records import DocumentRecord, TensorRecord, TokenizerRecord
from refquant.formats.rq.runnable import check_runnable
from refquant.formats.rq.segments import Segment
from refquant.formats.rq.shards import ShardRecord
from refquant.formats.rq.source import MemorySource, Place, Source, open_source

if TYPE_CHECKING:
    from refquant.formats.rq.atomic import atomic_file
    from refquant.formats.rq.canonical import why_not_canonical
    from refquant.formats.rq.plan import Plan, PlannedTensor
    from refquant.formats.rq.resumable import has_unfinished, write_resumable
    from refquant.formats.rq.resumable_set import FilledShard, ShardOrder, ShardRunner, fill_shard
    from refquant.formats.rq.shard_set import stored_bytes
    from refquant.formats.rq.write import Compression, plan_checkpoint, write_checkpoint

__all__ = [
    "KNOWN_FEATURES",
    "MAGIC",
    "Compression",
    "Contents",
    "DocumentRecord",
    "FilledShard",
    "Header",
    "MemorySource",
    "Place",
    "Plan",
    "PlannedTensor",
    "Preamble",
    "Segment",
    "ShardOrder",
    "ShardRecord",
    "ShardRunner",
    "Source",
    "TensorRecord",
    "TokenizerRecord",
    "Verify",
    "atomic_file",
    "check_runnable",
    "fill_shard",
    "has_unfinished",
    "open_source",
    "plan_checkpoint",
    "read",
    "read_header",
    "stored_bytes",
    "tensors_digest",
    "why_not_canonical",
    "write_checkpoint",
    "write_resumable",
]

_WRITING = {
    "Compression": "write",
    "FilledShard": "resumable_set",
    "Plan": "plan",
    "PlannedTensor": "plan",
    "ShardOrder": "resumable_set",
    "ShardRunner": "resumable_set",
    "atomic_file": "atomic",
    "fill_shard": "resumable_set",
    "has_unfinished": "resumable",
    "plan_checkpoint": "write",
    "stored_bytes": "shard_set",
    "why_not_canonical": "canonical",
    "write_checkpoint": "write",
    "write_resumable": "resumable",
}
"""The modules of names that only writing needs."""


def __getattr__(name: str) -> object:
    if name not in _WRITING:
        raise AttributeError(f"module 'refquant.formats.rq' has no attribute {name!r}")
    value = getattr(import_module(f"refquant.formats.rq.{_WRITING[name]}"), name)
    globals()[name] = value
    return value
