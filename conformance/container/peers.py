"""Readers in other languages as processes that stay: batches in, answers out, a ceiling on memory.

A peer that dies, hangs, says something unreadable or needs more than its ceiling loses no batch:
the file it had in hand is answered "crash: ..." and a new process takes the files after that.
"""

import fcntl
import json
import os
import resource
import select
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from conformance.container.readers import normalized

__all__ = ["CEILING", "Peer", "limit_memory", "peak_memory"]

CEILING = 256 << 20
"""Bytes of private memory that a reader may have for one file."""

PIPE = 1 << 20
"""Bytes that wait in a pipe, so that a peer works while the package does."""

PATIENCE = 60
"""Seconds without an answer after which a peer is said to hang."""


def limit_memory(ceiling):
    """Let this process allocate `ceiling` bytes, None for any; the ceiling that it had.

    What is asked beyond them fails. New processes have the same ceiling.
    """
    soft = resource.RLIM_INFINITY if ceiling is None else ceiling
    former, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    return None if former == resource.RLIM_INFINITY else former


def peak_memory(process="self"):
    """The most bytes a process has had in memory at once; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) << 10 if lines else 0


class Peer:
    """One reader that serves frames on its standard input."""

    def __init__(self, command, *, ceiling=CEILING, **environment):
        self.command = command
        self.ceiling = ceiling
        self.environment = environment
        self.peak = 0
        self.starts = 0
        self._files = []
        self._start()

    def _start(self):
        self.starts += 1
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - `_end` closes it
        # A new process has our limit from its first instruction on.
        ours = limit_memory(self.ceiling)
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, **self.environment},
            bufsize=0,
        )
        limit_memory(ours)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            for pipe in (self._process.stdin, self._process.stdout):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
        self._rest = b""

    def send(self, files):
        """Hand over a batch; `collect` waits for its answers."""
        self._files = files
        data = b"".join(struct.pack("<I", len(file)) + file for file in files)
        # A thread, because a peer whose answers nobody takes stops taking files.
        threading.Thread(target=_write, args=(self._process.stdin, data), daemon=True).start()

    def collect(self):
        """The answers to the last batch: codes, digests by name, or "crash: ..."."""
        found, files = [], self._files
        while len(found) < len(files):
            line = self._line()
            answer = None if line is None else _parsed(line)
            if answer is None:
                answer = f"crash: {self._end()}, answer {line!r}"
                self._start()
                self.send(files[len(found) + 1 :])
            found.append(answer)
        self._files = files
        self.peak = max(self.peak, peak_memory(self._process.pid))
        return found

    def _line(self):
        """The next line of output; None at its end or after too long a silence."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            more = os.read(self._process.stdout.fileno(), PIPE) if ready else b""
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _end(self):
        """End the process, and say how it ended."""
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = f"killed after {PATIENCE} seconds ({self._process.wait()})"
        self._process.stdin.close()
        self._process.stdout.close()
        self._said.seek(0)
        said = self._said.read()[-2000:].decode("utf-8", "replace")
        self._said.close()
        return f"status {status}: {said}"

    def close(self):
        """End the process."""
        self._process.kill()
        self._end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _write(pipe, data):
    """Write all bytes, or as many as the peer takes."""
    view = memoryview(data)
    try:
        while view:
            view = view[pipe.write(view) :]
    except (OSError, ValueError):
        # The peer has ended; `collect` says so.
        return


def _parsed(line):
    """The answer in a line, None if the line is no answer."""
    try:
        return normalized(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None
