"""Ending an engine whose runner is killed: a shell that outlives the runner, and waits for that.

A killed runner can end nothing, and an engine that hangs or never reads its input would not notice
that its input has ended. The shell notices: it holds the other end of a pipe of the runner.
"""

import os
import subprocess
from contextlib import suppress

__all__ = ["Guard"]

SCRIPT = 'read -r _ || kill -s KILL -- "-$1"'
"""A line means that the engine has ended; the end of the pipe alone, that the runner has."""


class Guard:
    """Kills a process group when this process ends without having closed the guard."""

    def __init__(self, group: int) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        if os.name == "posix":
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", SCRIPT, "sh", str(group)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # so that no signal to the runner's group ends it first
            )

    def close(self) -> None:
        """The group has ended: guard nothing any more."""
        if self._shell is None or self._shell.stdin is None:
            return
        with suppress(OSError):
            self._shell.stdin.write(b"\n")
        self._shell.stdin.close()
        self._shell.wait()
