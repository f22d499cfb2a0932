"""A process that runs `refquant quantize`, each time in a child of its own that somebody may kill.

    python tests/quantize_server.py

It reads lines of JSON, lists of arguments, and prints the number of the process that runs the
command line of each; after another line, of any text, it prints how that process ended. Before a
tensor is quantized its name is added to the file that the environment names ENCODED.
"""

import json
import os
import sys
from pathlib import Path

from refquant.cli import main
from refquant.quantization import plan

__all__ = ["serve"]


def watch():
    """Have each tensor that is quantized leave its name."""
    original = plan.Knowledge.encoded

    def encoded(self, weights, assignment, *others):
        with Path(os.environ["ENCODED"]).open("a") as file:
            file.write(f"{assignment.tensor}\n")
        return original(self, weights, assignment, *others)

    plan.Knowledge.encoded = encoded


def serve():
    """A child for each line of the standard input."""
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            os._exit(main(json.loads(line)))
        print(child, flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    watch()
    serve()
