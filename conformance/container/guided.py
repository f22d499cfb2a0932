"""Fuzzing led by coverage: atheris keeps the damaged files that reach new code of the package.

    python -m conformance.container.guided --seconds 600 --corpus grown --keep found

Needs atheris (`python tools/oracles.py --build atheris`). A mutator that knows the container
changes files and gives them right checksums again, or nothing behind a checksum would be reached.
Each file goes through all readers, as in `fuzz --run`. The corpus folder grows; `smallest` makes of
it what `conformance/files/fuzz` keeps. Ends with status 1 where readers have differed.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["refquant.formats.rq", "refquant.layout", "refquant.mp1", "refquant.architectures"],
    enable_loader_override=False,
):
    # These import the package, whose code is counted; their own is not.
    from conformance.container import fuzz, mutate
from conformance.container.generate import CORPUS
from conformance.container.peers import limit_memory

__all__ = ["main"]

BATCH = 200
LARGEST = 4096
"""Bytes of a file; larger ones reach nothing that small ones do not."""

CEILING = 512 << 20
"""More than a reader may have: the counters of the instrumented code are in it too."""


class Target:
    """Takes the files that libFuzzer makes, and shows them to the other readers in batches."""

    def __init__(self, seconds, keep, folder, stack):
        self.end = time.monotonic() + seconds
        self.report = fuzz.Report(keep)
        self.peers = fuzz.open_peers(stack, fuzz.programs(folder), "--run")
        self.path = folder / "file.rq"
        self.run = fuzz.Run(run=True)
        self.waiting = []
        self.told = time.monotonic()

    def __call__(self, data):
        """One file through the package; the others' answers are asked for with the batch."""
        self.waiting.append((data, self.run.timed(self.path, data)))
        if len(self.waiting) == BATCH:
            self.compare()
            if time.monotonic() > self.told + 60:
                self.told = time.monotonic()
                self.report(self.run, self.peers)
            if time.monotonic() > self.end:
                self.finish()

    def compare(self):
        """What the other readers say about the files that wait."""
        files = [data for data, _ in self.waiting]
        for peer in self.peers:
            peer.send(files)
        theirs = [peer.collect() for peer in self.peers]
        self.run.compare(self.waiting, theirs, self.peers)
        self.waiting.clear()

    def finish(self):
        """End the process, for libFuzzer never returns."""
        self.report(self.run, self.peers)
        for peer in self.peers:
            peer.close()
        sys.stdout.flush()
        os._exit(1 if self.run.different else 0)


def changed(data, largest, seed):
    """A file made from another one: mostly by the mutator that repairs checksums."""
    chance = random.Random(seed)
    if chance.random() < 0.05:
        return atheris.Mutate(data, largest)
    for _ in range(4):
        found = mutate.mutant(bytes(data), chance)
        if len(found) <= largest:
            return found
    return bytes(data[:largest])


def main():
    """Fuzz for some seconds."""
    parser = argparse.ArgumentParser(description="fuzzing of the readers of .rq led by coverage")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    options.corpus.mkdir(parents=True, exist_ok=True)
    for path in CORPUS.glob("*/*.rq"):
        if path.stat().st_size <= LARGEST:
            (options.corpus / path.name).write_bytes(path.read_bytes())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        target = Target(options.seconds, options.keep, Path(folder), stack)
        limit_memory(CEILING)
        flags = [f"-seed={options.seed}", f"-max_len={LARGEST}", "-timeout=20", "-rss_limit_mb=0"]
        atheris.Setup([sys.argv[0], *flags, str(options.corpus)], target, custom_mutator=changed)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
