"""Differential fuzzing: damaged files through the readers in Python, JavaScript and C.

    python -m conformance.container.fuzz --seconds 3600 --seed 7 --keep found

All readers must give the same code, or the same decoded bits, and none may crash, hang or need
more than 256 MiB. C reads every file twice: within the ceiling, and under the checks of addresses
and undefined behaviour. A file about which they differ is kept in the folder given by `--keep`.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from conformance.container import mutate, readers
from conformance.container.generate import CORPUS, without_zstd
from conformance.container.peers import CEILING, Peer, limit_memory, peak_memory
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import check_runnable, read

__all__ = [
    "KEPT",
    "Report",
    "Run",
    "decoded_digest",
    "fuzz",
    "open_peers",
    "programs",
    "python_answer",
    "seeds",
]

KEPT = CORPUS.parent / "fuzz"
"""Files that fuzzing led by coverage has found; `smallest` chooses them."""

BATCH = 400
LARGEST_SEED = 6144
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def decoded_digest(values):
    """SHA-256 of binary32 values, every NaN as 7fc00000."""
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    return sha256(bits.astype("<u4").tobytes()).hexdigest()


def python_answer(path, *, run=False):
    """The package's answer about a file, in the form of the other readers'.

    With `run` the answer is that of one who is to run the model: stage S7 is asked, too.
    """
    try:
        checkpoint = read(path, verify="full", use_mmap=False)
        if run:
            check_runnable(checkpoint)
        tensors = {
            name: {"shape": list(tensor.shape), "sha256": decoded_digest(tensor.dequantize())}
            for name, tensor in checkpoint.tensors.items()
        }
        texts = {n: sha256(d.data).hexdigest() for n, d in checkpoint.documents.items()}
    except (FormatError, UnsupportedError) as error:
        return error.code
    except Exception as error:  # noqa: BLE001 - any other exception is what is looked for
        return f"crash: {error!r}"
    return {"tensors": tensors, "documents": texts, "tokenizer": checkpoint.tokenizer is not None}


def agree(found, other):
    """Whether two answers are the same; the package keeps the tokenizer out of the documents."""
    if isinstance(found, str) or isinstance(other, str):
        return found == other
    missing = other["documents"].keys() - found["documents"].keys()
    texts = {name: other["documents"][name] for name in found["documents"]}
    return (
        found["tensors"] == other["tensors"]
        and texts == found["documents"]
        and len(missing) == found["tokenizer"]
    )


@dataclass
class Run:
    """What has been seen: files, the codes that answered them, and where readers differ.

    With `run` the readers are to run the models in the files.
    """

    run: bool = False
    files: int = 0
    codes: Counter = field(default_factory=Counter)
    different: list = field(default_factory=list)
    tolerated: int = 0
    slowest: float = 0.0

    def batch(self, files, peers, path):
        """Each file through the package and every peer."""
        for peer in peers:
            peer.send(files)
        ours = [(data, self.timed(path, data)) for data in files]
        self.compare(ours, [peer.collect() for peer in peers], peers)

    def compare(self, ours, theirs, peers):
        """The package's (file, answer) beside the other readers' answers."""
        for (data, found), *others in zip(ours, *theirs, strict=True):
            answers = [found, *others]
            if self.is_different(data, answers, peers):
                if as_far_as_zstd(answers):
                    self.tolerated += 1
                else:
                    self.different.append((data, answers))
            self.codes[found if isinstance(found, str) else "valid"] += 1
        self.files += len(ours)

    def is_different(self, data, answers, peers):
        """Whether readers differ about a file."""
        return not as_one(data, answers[0], peers, answers[1:])

    def timed(self, path, data):
        """The package's answer about a file that is written to a path."""
        path.write_bytes(data)
        return self.answer(path)

    def answer(self, path):
        """The package's answer, and whether it took longer than any before."""
        start = time.thread_time()
        answer = python_answer(path, run=self.run)
        self.slowest = max(self.slowest, time.thread_time() - start)
        return answer


def as_one(data, found, peers, others):
    """Whether all readers say about a file what the package says."""
    code = found if isinstance(found, str) else ""
    if code.startswith("crash"):
        return False
    raw_only = without_zstd(data, code) or found
    wanted = [raw_only if readers.lacks_zstd(peer.command) else found for peer in peers]
    return all(map(agree, wanted, others))


def as_far_as_zstd(answers):
    """Whether a decoder of zstd has noticed damage that another one has not, which rule Z-5 allows.

    Whatever is decoded then still has the right SHA-256, so two readers never see other bytes.
    """
    given = {answer if isinstance(answer, str) else "valid" for answer in answers}
    return given - {"E_FEATURE"} in ({"E_ZSTD_DATA", "E_SEG_SHA"}, {"E_ZSTD_DATA", "valid"})


def programs(folder):
    """The other readers' commands: JavaScript, C, and C under its checks, built in a folder."""
    for name in ("plain", "checked"):
        (folder / name).mkdir(exist_ok=True)
    found = {
        "javascript": readers.javascript_command(),
        "plain": readers.c_command(folder / "plain", "-O2"),
        "checked": readers.c_command(folder / "checked", *SANITIZED),
    }
    return {name: command[:-1] for name, command in found.items() if command is not None}


def open_peers(stack, found, *modes):
    """A process for each of the programs, ended with the stack.

    They are sent files, or where a mode is "--paths" the paths of files; with "--run" they are to
    run the models.
    """
    modes = modes if "--paths" in modes else ("--stdin", *modes)
    # The checks map terabytes of shadow and keep what is freed, so our ceiling is not theirs.
    checked = {"ceiling": None, "ASAN_OPTIONS": "quarantine_size_mb=4"}
    return [
        stack.enter_context(Peer([*command, *modes], **(checked if name == "checked" else {})))
        for name, command in found.items()
    ]


def seeds():
    """The small valid files of the corpus, whether they can be run or not, and what was found."""
    folders = (CORPUS / "valid", CORPUS / "run", KEPT)
    found = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.rq"))]
    return [data for data in found if len(data) <= LARGEST_SEED]


def fuzz(seconds, seed, peers, folder, *, batch=BATCH, report=None, run=False):
    """Go on for some seconds; `report(run, peers)` is called about once a minute."""
    chance, chosen, run = random.Random(seed), seeds(), Run(run)
    start = told = time.monotonic()
    while time.monotonic() < start + seconds or not run.files:
        files = [mutate.mutant(chance.choice(chosen), chance) for _ in range(batch)]
        run.batch(files, peers, folder / "mutant.rq")
        if report and time.monotonic() > told + 60:
            told = time.monotonic()
            report(run, peers)
    return run


class Report:
    """Lines of JSON about a run, and the files about which readers differ."""

    def __init__(self, keep, write=None):
        self.keep = keep
        self.write = write or (lambda data, path: path.with_suffix(".rq").write_bytes(data))
        self.start = time.monotonic()
        self.kept = 0

    def __call__(self, run, peers):
        """Say what has been seen so far."""
        line = {
            "seconds": round(time.monotonic() - self.start),
            "files": run.files,
            "differences": len(run.different),
            "tolerated": run.tolerated,
            "restarts": sum(peer.starts - 1 for peer in peers),
            "slowest_ms": round(1000 * run.slowest, 1),
            "peak_mib": {"python": peak_memory() >> 20}
            | {" ".join(peer.command[0].split("/")[-2:]): peer.peak >> 20 for peer in peers},
            "codes": dict(run.codes.most_common()),
        }
        print(json.dumps(line), flush=True)
        for data, answers in run.different[self.kept : 200]:
            name = sha256(repr(data).encode()).hexdigest()[:16]
            print(name, [str(answer)[:300] for answer in answers], flush=True)
            if self.keep:
                self.keep.mkdir(parents=True, exist_ok=True)
                self.write(data, self.keep / name)
        self.kept = len(run.different)


def main():
    """Fuzz, and say what was seen; status 1 where readers differ."""
    parser = argparse.ArgumentParser(description="differential fuzzing of the readers of .rq")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--run", action="store_true", help="stage S7 too")
    options = parser.parse_args()
    limit_memory(CEILING)
    report = Report(options.keep)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        peers = open_peers(stack, programs(folder), *(["--run"] if options.run else []))
        run = fuzz(options.seconds, options.seed, peers, folder, report=report, run=options.run)
        report(run, peers)
    return 1 if run.different else 0


if __name__ == "__main__":
    sys.exit(main())
