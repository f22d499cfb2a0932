"""Whether a file spells its content as the writer would."""

from collections.abc import Mapping

from refquant import mp1
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq.contents import Contents, read_header
from refquant.formats.rq.header import Header
from refquant.formats.rq.plan import SHARD_HEADER, Placed, outline
from refquant.formats.rq.preamble import MINOR
from refquant.formats.rq.segments import CODEC_ZSTD
from refquant.formats.rq.shards import find_shard
from refquant.formats.rq.source import Source
from refquant.formats.rq.write import plan_checkpoint

__all__ = ["why_not_canonical"]


def why_not_canonical(source: Source, checkpoint: Checkpoint) -> str | None:
    """What the writer would have spelled otherwise in the file that `checkpoint` was read from.

    None if nothing: then a raw file is, byte for byte, the one that its content makes, for the
    reader has already held everything but the header's choices to one form. How a model is split
    into shards, and what zstd makes of its bytes, is free.
    """
    contents = read_header(source)
    header = contents.header
    if header is None or contents.preamble is None:
        return "it cannot be read"
    if contents.preamble.minor != MINOR:
        return f"its minor version is {contents.preamble.minor}, this writer's is {MINOR}"
    expected = outline(plan_checkpoint(checkpoint), _compression(contents), _placed(header))
    if mp1.encode(contents.document) != expected.header:
        return "the header's labels or `info.compression` are not what the writer derives"
    for shard in header.shards:
        found = read_header(find_shard(source, shard))
        if mp1.encode(found.document) != SHARD_HEADER or found.preamble is None:
            return f"the shard {shard.name} says more of itself than the writer would"
        if found.preamble.minor != MINOR:
            return f"the shard {shard.name} has the minor version {found.preamble.minor}"
    return None


def _compression(contents: Contents) -> Mapping[str, object] | None:
    """What `info` says about compression, if anything in the file or its shards is compressed."""
    header = contents.header
    if header is None:
        return None
    stated = header.info.get("compression")
    is_compressed = any(segment.codec == CODEC_ZSTD for segment in contents.segments)
    if isinstance(stated, Mapping) and (is_compressed or header.shards):
        return stated
    return {} if is_compressed else None


def _placed(header: Header) -> Placed | None:
    if not header.shards:
        return None
    planes = {
        (record.name, plane): pieces
        for record in header.tensors
        for plane, pieces in record.planes.items()
    }
    return Placed(header.shards, planes)
