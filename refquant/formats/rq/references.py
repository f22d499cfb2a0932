"""The references from a header to segments: each segment once, in order, of the right kind."""

from collections.abc import Sequence

from refquant.errors import FormatError
from refquant.formats.rq import schema
from refquant.formats.rq.limits import MAX_SEGMENTS, ZSTD_CUT
from refquant.formats.rq.segments import CODEC_ZSTD, KIND_NAMES, Segment

__all__ = ["References"]


class References:
    """The next segment that the header may refer to."""

    __slots__ = ("expected", "may_cut", "segments")

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.expected = 1
        # A raw file has one form only, in which no plane is cut.
        self.may_cut = any(segment.codec == CODEC_ZSTD for segment in segments)

    def take(self, value: object, kind: int, where: str) -> tuple[int, ...]:
        """An array of segment numbers, each the next one and of the given kind."""
        numbers = schema.integers(value, where, MAX_SEGMENTS)
        for position, number in enumerate(numbers):
            self._take_one(number, kind, f"{where}[{position}]")
        return tuple(numbers)

    def _take_one(self, number: int, kind: int, where: str) -> None:
        if not 1 <= number < len(self.segments):
            message = f"segment {number}, expected 1..{len(self.segments) - 1}"
            raise FormatError("E_REF", message, where=where)
        found = self.segments[number].kind
        if found != kind:
            message = f"segment {number} is a {KIND_NAMES[found]}, expected a {KIND_NAMES[kind]}"
            raise FormatError("E_REF", message, where=where)
        if number < self.expected:
            raise FormatError("E_SHARED", f"segment {number} already has an owner", where=where)
        if number > self.expected:
            message = f"segment {number}, expected {self.expected}: references count up"
            raise FormatError("E_ORDER", message, where=where)
        self.expected += 1

    def raw_bytes(self, numbers: Sequence[int]) -> int:
        """Decoded bytes of some segments together."""
        return sum(self.segments[number].raw_length for number in numbers)

    def check_cut(self, numbers: Sequence[int], where: str) -> None:
        """A plane is cut nowhere, or in a compressed file every 64 MiB."""
        if len(numbers) < 2:
            return
        lengths = [self.segments[number].raw_length for number in numbers]
        is_regular = all(length == ZSTD_CUT for length in lengths[:-1]) and lengths[-1] <= ZSTD_CUT
        if not self.may_cut or not is_regular:
            expected = f"a cut every {ZSTD_CUT}" if self.may_cut else "no cut in a raw file"
            message = f"pieces of {lengths[:4]} bytes, expected {expected}"
            raise FormatError("E_CUT", message, where=where)

    def finish(self) -> None:
        """Refuse a segment that nothing has referred to."""
        if self.expected != len(self.segments):
            message = f"segment {self.expected} belongs to no document and no tensor"
            raise FormatError("E_UNREF", message, where="$.core")
