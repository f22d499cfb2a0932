"""A process that writes `.rq` files, each in a child of its own that somebody may kill.

    python tests/rq_writer.py FOLDER

It reads lines `FORM NUMBER LARGEST`, writes version NUMBER of `model.rq` in that form where no file
may have more than LARGEST bytes (0: any), and prints the number of the process that does. After
another line, of any text, it prints how that process ended, with the number of the error as its
status; until then no other process can have its number.
"""

import os
import resource
import sys
from pathlib import Path

import numpy as np

from refquant.formats.rq import Plan, PlannedTensor
from refquant.formats.rq.write import write
from refquant.schemes import scheme

__all__ = ["FORMS", "plan", "write_version"]

TENSORS = 4
BYTES = 1 << 20


def plan(number):
    """Tensors of some megabytes that zstd can halve; every version has other bytes."""
    half = np.random.default_rng(number).integers(0, 256, BYTES // 2, np.uint8)
    data = np.repeat(half, 2).tobytes()
    layout = scheme("float/f32").layout
    shape = (BYTES // 4,)
    return Plan(
        [
            PlannedTensor(f"blk.{i}", layout, shape, lambda: {"values": data})
            for i in range(TENSORS)
        ],
        info={"version": number},
    )


FORMS = {
    "raw": lambda path, number: write(path, plan(number)),
    "zstd": lambda path, number: write(path, plan(number), compression="zstd", level=1),
    "sharded": lambda path, number: write(path, plan(number), shard_size=5 << 19),
}


def write_version(folder, form, number):
    """Write one version, whole or not at all."""
    FORMS[form](Path(folder) / "model.rq", number)


def status_of(folder, form, number, largest):
    """0 where the version was written, else the number of the error that the system gave."""
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        write_version(folder, form, number)
    except OSError as error:
        return error.errno
    return 0


def serve(folder):
    """A child for each line of the standard input."""
    while line := sys.stdin.readline():
        form, number, largest = line.split()
        child = os.fork()
        if child == 0:
            os._exit(status_of(folder, form, int(number), int(largest)))
        print(child, flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
