"""Turning tokens into text while they come, without ever taking anything back."""

import codecs
from collections.abc import Callable, Sequence

__all__ = ["IncrementalDecoder", "StopFilter"]


class IncrementalDecoder:
    """Bytes of one token after another, as text; half a UTF-8 character waits for its rest.

    `token_bytes(id)` gives a token's own bytes. Bytes that can no longer become a character
    turn into U+FFFD as they would in the whole text.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        """The text that became certain with this token."""
        return self._utf8.decode(self._token_bytes(token))

    def rest(self) -> str:
        """What half a character at the very end becomes."""
        return self._utf8.decode(b"", final=True)


class StopFilter:
    """Passes text on until the first of some stop texts, which may arrive in pieces.

    The outcome does not depend on how the text is cut into pieces: of several stop texts the one
    that is complete first wins, and of those the one that began first.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The text that cannot be part of a stop text any more."""
        if self.stopped:
            return ""
        pending = self._held + text
        found = [
            (start + len(stop), start) for stop in self._stops if (start := pending.find(stop)) >= 0
        ]
        if found:
            self.stopped = True
            self._held = ""
            return pending[: min(found)[1]]
        keep = self._beginning(pending)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def rest(self) -> str:
        """The beginning of a stop text that never came to its end."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop text begins."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
