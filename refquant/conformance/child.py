"""A child process that may crash, hang, flood or lie: started in limits, read without blocking."""

import os
import re
import selectors
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from refquant.conformance.guard import Guard
from refquant.conformance.replies import Limits
from refquant.signals import name_of_signal

__all__ = ["Child", "limited"]

KEPT_LOG = 8 << 10
READING = 1 << 16
TELLING = re.compile(r"error|exception|panic|fault|abort|assert|cannot|not found", re.IGNORECASE)


def limited(command: Sequence[str], limits: Limits) -> list[str]:
    """The command behind a shell that sets limits of memory, files and core dumps first."""
    if os.name != "posix":
        return list(command)
    script = (
        f"ulimit -c 0; ulimit -d {limits.memory >> 10} 2>/dev/null; "
        f'ulimit -f {limits.file_bytes >> 9}; exec "$@"'
    )
    return ["sh", "-c", script, "sh", *command]


class Child:
    """One process in a group of its own; lines go in, lines come out, each within a time."""

    def __init__(self, command: str, limits: Limits) -> None:
        self.limits = limits
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `kill` closes it
        self._process = subprocess.Popen(
            limited(shlex.split(command), limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._guard = Guard(self._process.pid)
        self._input = self._fileno(self._process.stdin)
        self._output = self._fileno(self._process.stdout)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._writable = selectors.DefaultSelector()
        self._writable.register(self._input, selectors.EVENT_WRITE)
        self._buffer = bytearray()
        self._searched = 0

    def write(self, line: bytes, deadline: float) -> bool:
        """Hand over a line; False if the process ends or reads nothing until then."""
        rest = memoryview(line)
        while rest:
            if not self._writable.select(max(deadline - time.monotonic(), 0)):
                return False
            try:
                rest = rest[os.write(self._input, rest) :]
            except BlockingIOError:
                continue
            except OSError:
                return False
        return True

    def lines(self, deadline: float) -> bytes:
        """The whole lines that have come in, at least one; empty if there is none until then.

        That is where the process ended, the time is over, or a line is too long: see `ended`,
        `too_long`.
        """
        while not (found := self._whole_lines()):
            if self.too_long or not self._selector.select(max(deadline - time.monotonic(), 0)):
                return b""
            with suppress(BlockingIOError):
                part = os.read(self._output, READING)
                if not part:
                    return b""
                self._buffer += part
        return found

    @property
    def too_long(self) -> bool:
        """Whether a line has grown beyond the limit."""
        return len(self._buffer) > self.limits.line_bytes

    def meanwhile(self) -> bytes:
        """The whole lines that have come in by now, at most one reading of them."""
        if self._selector.select(0):
            with suppress(BlockingIOError):
                self._buffer += os.read(self._output, READING)
        return self._whole_lines()

    @property
    def unfinished(self) -> bytes:
        """What has come in behind the last whole line."""
        return bytes(self._buffer)

    def _whole_lines(self) -> bytes:
        end = self._buffer.rfind(b"\n", self._searched) + 1
        found = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = len(self._buffer)
        return found

    def ended(self, seconds: float = 1.0) -> str:
        """How the process ended, or an empty text where it has not."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return ""
        if status < 0:
            return f"ended by signal {name_of_signal(-status)}"
        return f"ended with exit status {status}"

    def log(self) -> str:
        """The last of what it wrote to standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        self._errors.seek(max(size - KEPT_LOG, 0))
        return self._errors.read().decode("utf-8", "replace")

    def last_words(self) -> str:
        """The last line of the log that speaks of an error, else the last one."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        telling = [line for line in lines if TELLING.search(line)]
        return (telling or lines or [""])[-1]

    def kill(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._guard.close()
        self._selector.close()
        self._writable.close()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    @staticmethod
    def _fileno(stream: IO[bytes] | None) -> int:
        if stream is None:
            raise ValueError("the process was started without pipes")
        os.set_blocking(stream.fileno(), False)
        return stream.fileno()
