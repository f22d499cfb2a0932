"""The files of one model: the root, and its shards, each opened when a plane of it is wanted."""

from collections.abc import Callable, Iterator
from threading import Lock

from refquant.errors import FormatError, RefquantError
from refquant.formats.rq.contents import Contents, examine, is_remote
from refquant.formats.rq.header import Header
from refquant.formats.rq.header_tensors import plane_bytes
from refquant.formats.rq.records import Pieces, TensorRecord
from refquant.formats.rq.segment_reader import Joined, SegmentReader, Verify
from refquant.formats.rq.shards import PlaneUse, check_uses, find_shard
from refquant.formats.rq.source import Source

__all__ = ["StoredFiles", "open_file"]


def open_file(
    source: Source, contents: Contents, verify: Verify, budget: int | None, *, as_shard: bool
) -> tuple[SegmentReader, Header]:
    """Stages S0 to S6 of one file, a root or a shard, by the rules of a level."""
    # What the header does not need is left for first use, so that opening touches front matter
    # alone; only "full" looks at everything at once.
    with_padding = verify == "full" and not is_remote(source)
    header = examine(source, contents, budget=budget, with_padding=with_padding, as_shard=as_shard)
    return SegmentReader(source, contents.segments, verify), header


class StoredFiles:
    """The root's segments and those of its shards."""

    def __init__(self, root: SegmentReader, header: Header, budget: int | None) -> None:
        self.root = root
        self.verify = root.verify
        self.path = root.path
        self._shards = header.shards
        self._uses = _uses(header)
        self._budget = budget
        self._readers: dict[int, SegmentReader] = {0: root}
        self._lock = Lock()

    def reader(self, file: int) -> SegmentReader:
        """The reader of a file: 0 is the root, others are opened and checked the first time."""
        with self._lock:
            if file not in self._readers:
                self._readers[file] = self._open(file)
            return self._readers[file]

    def check_all(self, progress: Callable[[str, int], None] | None = None) -> None:
        """Open every shard, then S8 for every segment of every file."""
        readers = [self.reader(file) for file in range(len(self._shards) + 1)]
        for reader in readers:
            reader.check_all(progress)

    def digest(self, pieces: Pieces) -> bytes | None:
        """The SHA-256 of a plane, where the segment tables know it and have been found right."""
        if len(pieces.numbers) != 1:
            return None
        return self.reader(pieces.file).digest(pieces.numbers[0])

    def joined(self, pieces: Pieces, where: str) -> Joined:
        """The decoded bytes of one plane."""
        return self.reader(pieces.file).joined(pieces.numbers, where)

    def stream(self, pieces: Pieces, where: str) -> Iterator[bytes | memoryview]:
        """The same in pieces, with one segment in memory at most."""
        reader = self.reader(pieces.file)
        for number in pieces.numbers:
            yield from reader.stream(number, where)

    def _open(self, file: int) -> SegmentReader:
        shard = self._shards[file - 1]
        source = find_shard(self.root.source, shard)
        contents = Contents(source.name, source.size)
        try:
            reader, _ = open_file(source, contents, self.verify, self._budget, as_shard=True)
            check_uses(contents.segments, self._uses[file - 1])
        except FormatError as error:
            raise (error if error.path else error.at(source.name)) from error.__cause__
        except RefquantError as error:
            error.add_note(f"in the shard {source.name}")
            raise
        return reader


def _uses(header: Header) -> list[list[PlaneUse]]:
    """For each shard, the planes that the root expects in it, in order."""
    uses: list[list[PlaneUse]] = [[] for _ in header.shards]
    for record in header.tensors:
        for plane, pieces in record.planes.items():
            if pieces.file:
                uses[pieces.file - 1].append(_use(record, plane, pieces, header))
    return uses


def _use(record: TensorRecord, plane: str, pieces: Pieces, header: Header) -> PlaneUse:
    where = f"{record.name!r}, plane {plane!r}"
    expected = plane_bytes(header.layouts[record.scheme], plane, record.shape, where)
    return PlaneUse(where, pieces.numbers, expected)
