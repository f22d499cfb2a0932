"""The references from a header to segments: each segment once, in order, of the right kind.

In a single file a reference is a segment's number. In a root with shards it is a pair: the file,
0 for the root itself and k for the k-th shard, and the segment's number there. Read in order, the
pairs go through the root's segments, then through each shard's.
"""

from collections.abc import Sequence

from refquant.errors import FormatError
from refquant.formats.rq import schema
from refquant.formats.rq.limits import MAX_SEGMENTS, ZSTD_CUT
from refquant.formats.rq.records import Pieces
from refquant.formats.rq.segments import CODEC_ZSTD, KIND_NAMES, Segment

__all__ = ["References", "check_cut", "check_kind", "may_cut"]


def may_cut(segments: Sequence[Segment]) -> bool:
    """Whether planes in this file may be cut: a raw file has one form only, without any cut."""
    return any(segment.codec == CODEC_ZSTD for segment in segments)


def check_kind(segments: Sequence[Segment], number: int, kind: int, where: str) -> None:
    """Refuse a reference to no segment, or to one of another kind."""
    if not 1 <= number < len(segments):
        message = f"segment {number}, expected 1..{len(segments) - 1}"
        raise FormatError("E_REF", message, where=where)
    found = segments[number].kind
    if found != kind:
        message = f"segment {number} is a {KIND_NAMES[found]}, expected a {KIND_NAMES[kind]}"
        raise FormatError("E_REF", message, where=where)


def check_cut(lengths: Sequence[int], where: str, *, cuttable: bool) -> None:
    """A plane is cut nowhere, or in a compressed file every 64 MiB."""
    if len(lengths) < 2:
        return
    is_regular = all(length == ZSTD_CUT for length in lengths[:-1]) and lengths[-1] <= ZSTD_CUT
    if not cuttable or not is_regular:
        expected = f"a cut every {ZSTD_CUT}" if cuttable else "no cut in a raw file"
        message = f"pieces of {list(lengths[:4])} bytes, expected {expected}"
        raise FormatError("E_CUT", message, where=where)


class References:
    """The next segment that the header may refer to.

    `shards` is the number of shards of a root, 0 for a single file.
    """

    __slots__ = ("_cuttable", "_end", "_file", "_kinds", "_number", "segments", "shards")

    def __init__(self, segments: Sequence[Segment], shards: int = 0) -> None:
        self.segments = segments
        self.shards = shards
        self._file, self._number = 0, 1
        self._cuttable = may_cut(segments)
        self._kinds = [segment.kind for segment in segments]
        self._end = len(segments)

    def take(self, value: object, kind: int, where: str) -> Pieces:
        """An array of references, each the next one, all of them into one file."""
        pairs = self._pairs(value, where)
        for position, (file, number) in enumerate(pairs):
            is_due = (file, number) == (self._file, self._number)
            if is_due and file == 0 and number < self._end and self._kinds[number] == kind:
                self._number += 1
            else:
                self._take_one(file, number, kind, f"{where}[{position}]")
        if self.shards and len({file for file, _ in pairs}) > 1:
            raise FormatError("E_CUT", "its pieces are in two files", where=where)
        return Pieces(pairs[0][0] if pairs else 0, tuple(number for _, number in pairs))

    def _pairs(self, value: object, where: str) -> list[tuple[int, int]]:
        if not self.shards:
            return [(0, number) for number in schema.integers(value, where, MAX_SEGMENTS)]
        pairs = []
        for position, entry in enumerate(schema.items(value, where, MAX_SEGMENTS)):
            place = f"{where}[{position}]"
            if not isinstance(entry, list) or len(entry) != 2:
                message = "expected an array of file and segment"
                raise FormatError("E_SCHEMA_TYPE", message, where=place)
            file, number = schema.integers(entry, place, 2)
            pairs.append((file, number))
        return pairs

    def _take_one(self, file: int, number: int, kind: int, where: str) -> None:
        if file == 0:
            check_kind(self.segments, number, kind, where)
        else:
            self._check_shard(file, number, kind, where)
        due = self._file, self._number
        if (file, number) < due:
            message = f"{self._shown(file, number)} already has an owner"
            raise FormatError("E_SHARED", message, where=where)
        if (file, number) != due and not self._begins_next(file, number):
            message = f"{self._shown(file, number)}, expected {self._shown(*due)}"
            raise FormatError("E_ORDER", f"{message}: references count up", where=where)
        self._file, self._number = file, number + 1

    def _check_shard(self, file: int, number: int, kind: int, where: str) -> None:
        """What can be said of a reference into a shard without looking at the shard."""
        if not 1 <= file <= self.shards:
            message = f"file {file}, expected 0..{self.shards}"
            raise FormatError("E_REF", message, where=where)
        if not 1 <= number < MAX_SEGMENTS:
            message = f"segment {number}, expected 1..{MAX_SEGMENTS - 1}"
            raise FormatError("E_REF", message, where=where)
        if KIND_NAMES[kind] == "document":
            raise FormatError("E_REF", "documents stay in the root file", where=where)

    def _begins_next(self, file: int, number: int) -> bool:
        """Whether this is the first segment of the file after one that has nothing left."""
        # How many segments a shard has is known once it is opened; one at least is used.
        is_done = self._number == len(self.segments) if self._file == 0 else self._number > 1
        return is_done and (file, number) == (self._file + 1, 1)

    def _shown(self, file: int, number: int) -> str:
        return f"segment {number} of file {file}" if self.shards else f"segment {number}"

    def raw_bytes(self, pieces: Pieces) -> int:
        """Decoded bytes of some segments of this file together."""
        return sum(self.segments[number].raw_length for number in pieces.numbers)

    def check_cut(self, pieces: Pieces, where: str) -> None:
        """A plane of this file is cut nowhere, or if the file is compressed every 64 MiB."""
        lengths = [self.segments[number].raw_length for number in pieces.numbers]
        check_cut(lengths, where, cuttable=self._cuttable)

    def finish(self) -> None:
        """Refuse a segment of this file, or a shard, that nothing has referred to."""
        if self._file == 0 and self._number != len(self.segments):
            message = f"segment {self._number} belongs to no document and no tensor"
            raise FormatError("E_UNREF", message, where="$.core")
        if self._file != self.shards:
            message = f"no tensor has a plane in shard {self._file + 1}"
            raise FormatError("E_UNREF", message, where="$.core.shards")
