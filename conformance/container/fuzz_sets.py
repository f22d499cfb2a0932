"""Differential fuzzing of models in several files: a root and its shards, one of them damaged.

    python -m conformance.container.fuzz_sets --seconds 600 --seed 7 --keep found

A damaged shard is mostly pinned again by its root, so that what is behind the pin is reached. The
readers are given paths, and open what the root lists beside it. Everything else is as in `fuzz`.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgpack

from conformance.container import fuzz, mutate
from conformance.container.parts import build
from conformance.container.peers import CEILING, limit_memory
from conformance.container.shard_files import CORPUS, ROOT, has_frames

__all__ = ["SetRun", "damaged", "fuzz_sets", "seeds"]

BATCH = 100
LARGEST = 16384


def seeds():
    """The valid sets of the corpus, and the small ones with defects: {name: bytes} each."""
    found = []
    for folder in sorted(path.parent for path in CORPUS.glob(f"*/*/{ROOT}")):
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        if sum(map(len, files.values())) <= LARGEST:
            found += [files] * (8 if folder.parent.name == "valid" else 1)
    return found


def damaged(files, chance):
    """A set with one file changed, or its files exchanged."""
    files = dict(files)
    names = sorted(files)
    if chance.random() < 0.1:
        return exchanged(files, names, chance)
    name = chance.choice(names)
    data = files[name]
    kind = chance.choice(mutate.KINDS_OF_FILES)
    files[name] = kind(data, mutate.take_apart(data), chance) if len(data) >= 128 else b"short"
    if name != ROOT and chance.random() < 0.9:
        files[ROOT] = pinned(files[ROOT], name, files[name])
    return files


def exchanged(files, names, chance):
    """Two files that have changed places, one that is gone, or one with more at its end."""
    one, other = chance.choice(names), chance.choice(names)
    kind = chance.randrange(4)
    if kind == 0:
        files[one], files[other] = files[other], files[one]
    elif kind == 1 and one != ROOT:
        del files[one]
    elif kind == 2:
        files[one] += chance.randbytes(chance.choice([1, 64]))
    else:
        files[one] = files[one][: chance.randrange(len(files[one]) + 1)]
    return files


def pinned(root, name, shard):
    """A root that lists the shard of this name with the length and the digest that it has now."""
    parts = mutate.take_apart(root)
    try:
        header = msgpack.unpackb(parts.header)
        for entry in header["core"]["shards"]:
            if entry["name"] == name:
                entry |= {"file_len": len(shard), "root": shard[32:64]}
    except (ValueError, KeyError, TypeError):
        return root
    parts.header = mutate.spelled(header)
    return build(parts)


class SetRun(fuzz.Run):
    """What has been seen of sets; `files` counts sets."""

    def sets(self, batch, peers, folder):
        """Each set through the package and every peer."""
        paths = [write(files, folder / str(number)) for number, files in enumerate(batch)]
        for peer in peers:
            peer.send([str(path).encode() for path in paths])
        ours = [self.answer(path) for path in paths]
        self.compare(list(zip(batch, ours, strict=True)), [p.collect() for p in peers], peers)

    def is_different(self, data, answers, peers):
        """Whether readers differ; one without zstd stops at the first file that has frames."""
        kept = [
            answer
            for answer, peer in zip(answers[1:], peers, strict=True)
            if not (answer == "E_FEATURE" and fuzz.readers.lacks_zstd(peer.command))
            or not has_frames(data)
        ]
        same = all(fuzz.agree(answers[0], answer) for answer in kept)
        return str(answers[0]).startswith("crash") or not same


def write(files, folder):
    """The path of the root of a set that has been written into a folder."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / ROOT


def fuzz_sets(seconds, seed, peers, folder, *, batch=BATCH, report=None):
    """Run for some seconds; `report(run, peers)` is called about once a minute."""
    chance, chosen, run = random.Random(seed), seeds(), SetRun()
    start = told = time.monotonic()
    while time.monotonic() < start + seconds or not run.files:
        run.sets([damaged(chance.choice(chosen), chance) for _ in range(batch)], peers, folder)
        if report and time.monotonic() > told + 60:
            told = time.monotonic()
            report(run, peers)
    return run


def main():
    """Fuzz, and say what was seen; status 1 where readers differ."""
    parser = argparse.ArgumentParser(description="differential fuzzing of readers of shards")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    limit_memory(CEILING)
    report = fuzz.Report(options.keep, write)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        peers = fuzz.open_peers(stack, fuzz.programs(folder), "--paths")
        run = fuzz_sets(options.seconds, options.seed, peers, folder, report=report)
        report(run, peers)
    return 1 if run.different else 0


if __name__ == "__main__":
    sys.exit(main())
