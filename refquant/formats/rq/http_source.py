"""An `.rq` file on a web server, of which only the needed bytes are fetched, by range requests.

The first request is for the first 64 KiB, which is the whole front matter of most models, and
tells the file's length and its entity tag. Every later answer must be of the same version, for
exactly the bytes that were asked for. What is fetched is held against the segment table like the
bytes of any file, so a server is trusted with nothing but its being there.
"""

import http.client
import re
from threading import Lock
from typing import Final
from urllib.parse import urljoin, urlsplit
from weakref import finalize

from refquant.errors import FormatError, UnsupportedError, UsageError

__all__ = ["FRONT_BYTES", "HttpSource"]

FRONT_BYTES: Final = 1 << 16
"""What the first request asks for: preamble, table and header of a model with a few hundred
tensors."""

_TIMEOUT: Final = 60.0
"""Seconds without a byte after which a server is given up."""

_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({401, 403, 404, 410})
"""What a server says where a signed address, to which it had led before, is no longer good."""

_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})")


class _NotThereError(UsageError):
    """The server has no such file."""


class HttpSource:
    """The bytes of a URL."""

    def __init__(self, url: str) -> None:
        self.name = url
        self.size = 0
        self._lock = Lock()
        self._place = _checked_url(url, url)
        # One at most; a list, because the finalizer must not know this object.
        self._connections: list[http.client.HTTPConnection] = []
        finalize(self, _close_all, self._connections)
        self._tag: str | None = None
        self._front = memoryview(b"")
        self._front = self._fetch(0, FRONT_BYTES)

    def read_at(self, offset: int, length: int) -> memoryview:
        """These bytes, from the first 64 KiB or by one request."""
        if offset + length <= len(self._front):
            return self._front[offset : offset + length]
        with self._lock:
            return self._fetch(offset, length)

    def sibling(self, name: str) -> "HttpSource | None":
        """The file of that name beside this one on the server."""
        try:
            return HttpSource(urljoin(self.name, name))
        except _NotThereError:
            return None

    def _fetch(self, offset: int, length: int) -> memoryview:
        if length == 0:
            return memoryview(b"")
        try:
            with self._answer(offset, length) as answer:
                return self._read(answer, offset, length)
        except (OSError, http.client.HTTPException) as error:
            self._close()
            reason = str(error) or type(error).__name__
            raise UsageError(f"cannot read {self.name}: {reason}") from error
        except BaseException:
            # An answer that was not read to its end blocks the connection.
            self._close()
            raise

    def _answer(self, offset: int, length: int) -> http.client.HTTPResponse:
        """The answer to one range request, after redirects."""
        began = self._place
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._ask(offset, length)
            if answer.status in _GONE and began != self.name:
                began = self._place = self.name
            elif answer.status in _REDIRECTS:
                target = urljoin(self._place, answer.headers.get("Location", ""))
                self._place = _checked_url(target, self._place)
            else:
                return answer
            answer.close()
            self._close()
        raise UsageError(f"cannot open {self.name}: more than {_MOST_REDIRECTS} redirects")

    def _ask(self, offset: int, length: int) -> http.client.HTTPResponse:
        headers = {
            "Range": f"bytes={offset}-{offset + length - 1}",
            "Accept-Encoding": "identity",
            "User-Agent": "refquant",
        }
        if self._tag is not None and not self._tag.startswith("W/"):
            headers["If-Range"] = self._tag
        parts = urlsplit(self._place)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        is_kept = bool(self._connections)
        try:
            return self._send(path, headers)
        except (OSError, http.client.HTTPException):
            self._close()
            # A server may close a connection that waits; that says nothing about a new one.
            if not is_kept:
                raise
            return self._send(path, headers)

    def _send(self, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        if not self._connections:
            self._connections.append(_connect(self._place))
        self._connections[0].request("GET", path, headers=headers)
        return self._connections[0].getresponse()

    def _close(self) -> None:
        _close_all(self._connections)

    def _read(self, answer: http.client.HTTPResponse, offset: int, length: int) -> memoryview:
        expected = self._check_head(answer, offset, length)
        announced = answer.headers.get("Content-Length")
        if announced is not None and announced.strip() != str(expected):
            raise self._wrong_body(f"it announces {announced[:40]} bytes", expected, offset)
        # One byte more than is wanted shows whether there is more; a flood is not read.
        data = answer.read(expected + 1) if announced is None else answer.read(expected)
        if len(data) != expected:
            found = f"more than {expected}" if len(data) > expected else str(len(data))
            raise self._wrong_body(f"it sent {found} bytes", expected, offset)
        return memoryview(data)

    def _check_head(self, answer: http.client.HTTPResponse, offset: int, length: int) -> int:
        """How many bytes are to follow, once status and headers are right."""
        is_first = self.size == 0
        if answer.status in (200, 416) and not is_first:
            raise self._changed("another version is there now")
        if answer.status == 200:
            raise UnsupportedError(
                f"the server of {self.name} ignores range requests; download the file first",
                code="E_HTTP_RANGE",
            )
        if answer.status not in (206, 416):
            raise _refusal(self.name, answer)
        coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if coding != "identity":
            raise self._wrong_body(f"it is encoded as {coding[:40]}", length, offset)
        start, end, total = self._content_range(answer, offset)
        tag = answer.headers.get("ETag")
        if is_first:
            self.size, self._tag = total, tag
        elif total != self.size or tag != self._tag:
            raise self._changed("length or entity tag differ from the first answer's")
        if answer.status == 416:
            return 0
        last = min(offset + length, total) - 1
        if (start, end) != (offset, last):
            raise self._wrong_body(f"it is for bytes {start}-{end}", length, offset)
        return last - offset + 1

    def _content_range(self, answer: http.client.HTTPResponse, offset: int) -> tuple[int, int, int]:
        stated = answer.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(stated.strip())
        if found is None or (found[1] is None) != (answer.status == 416):
            raise self._wrong_body(f"Content-Range is {stated[:80]!r}", 0, offset)
        return int(found[1] or 0), int(found[2] or 0), int(found[3])

    def _changed(self, reason: str) -> FormatError:
        message = f"the file on the server has changed while it was read: {reason}; open it again"
        return FormatError("E_HTTP_CHANGED", message, path=self.name)

    def _wrong_body(self, found: str, expected: int, offset: int) -> FormatError:
        asked = f" to a request for {expected} bytes" if expected else ""
        message = f"the server's answer{asked} is not what was asked for: {found}"
        return FormatError("E_HTTP_BODY", message, path=self.name, offset=offset)


def _checked_url(url: str, origin: str) -> str:
    """A URL that may be asked for, coming from another one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"cannot open {url}: expected http or https, and a host")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"cannot open {parts.hostname}: no names and passwords in an address")
    if urlsplit(origin).scheme == "https" and parts.scheme != "https":
        raise UsageError(f"cannot open {origin}: it leads from https to {url}")
    return url


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"cannot open {url}: {error}") from error
    return kind(parts.hostname or "", port, timeout=_TIMEOUT)


def _refusal(url: str, answer: http.client.HTTPResponse) -> UsageError:
    kind = _NotThereError if answer.status in (404, 410) else UsageError
    return kind(f"cannot open {url}: the server says {answer.status} {answer.reason}")
