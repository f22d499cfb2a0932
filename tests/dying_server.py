"""A process that runs command lines, each in a child that may kill itself before a chosen call.

    python tests/dying_server.py

It reads lines of JSON, `{"arguments": [...], "dies_before": 17}`, and answers each with a line:
how the child ended, and the calls that it made which change files, in their order. A child that is
to die before its call 17 sends itself SIGKILL there, so nothing of that call or after it happens.
The first command runs in this process, so that its children have everything imported.
"""

import json
import os
import signal
import sys

from refquant.cli import main

__all__ = ["serve"]

CALLS = {
    "posix": {"open", "replace", "rename", "unlink", "remove", "rmdir", "mkdir", "link", "fsync"},
    "fcntl": {"flock"},
    "BufferedRandom": {"write", "flush", "truncate", "close"},
    "BufferedWriter": {"write", "flush", "truncate", "close"},
}
"""Modules and types that change files, and how. Text goes to standard streams alone."""


class Watch:
    """Notes the calls, and kills this process before the one with a number."""

    def __init__(self, dies_before):
        self.calls = []
        self.dies_before = dies_before

    def __call__(self, _frame, event, function):
        if event != "c_call":
            return
        owner = getattr(function, "__module__", None) or type(function.__self__).__name__
        if function.__name__ in CALLS.get(owner, ()):
            if len(self.calls) == self.dies_before:
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls.append(function.__name__)


def run(arguments, dies_before=None):
    """The status of a command line in this process, and its calls."""
    watch = Watch(dies_before)
    sys.setprofile(watch)
    try:
        status = main(arguments)
    finally:
        sys.setprofile(None)
    return status, watch.calls


def in_child(request):
    """How a child that runs a command line ends, and its calls, unless it was killed."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        status, calls = run(**request)
        with os.fdopen(writes, "w") as pipe:
            json.dump(calls, pipe)
        os._exit(status)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        calls = json.loads(pipe.read() or "[]")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), calls


def serve():
    """An answer for each line of the standard input."""
    for number, line in enumerate(iter(sys.stdin.readline, "")):
        request = json.loads(line)
        # The first is answered here, so that children need not import what it has imported.
        print(json.dumps(in_child(request) if number else run(**request)), flush=True)


if __name__ == "__main__":
    serve()
