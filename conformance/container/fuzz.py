"""Differential fuzzing: damaged files through the readers in Python, JavaScript and C.

    python -m conformance.container.fuzz --seconds 3600 --seed 7

All readers must give the same code, or the same decoded bits, and none may crash. A file about
which they differ is kept in the folder given by `--keep`.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np

from conformance.container import mutate, readers
from conformance.container.generate import CORPUS, without_zstd
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import read

__all__ = ["decoded_digest", "fuzz", "python_answer"]

BATCH = 400
LARGEST_SEED = 4096


def decoded_digest(values):
    """SHA-256 of binary32 values, every NaN as 7fc00000."""
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    return sha256(bits.astype("<u4").tobytes()).hexdigest()


def python_answer(path):
    """The package's answer about a file, in the form of the other readers'."""
    try:
        checkpoint = read(path, verify="full", use_mmap=False)
        tensors = {
            name: {
                "shape": list(checkpoint.tensors[name].shape),
                "sha256": decoded_digest(checkpoint.tensors[name].dequantize()),
            }
            for name in checkpoint.tensors
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


def one_batch(files, commands, path):
    """(file, answers) where the readers differ, and how often each code was the answer."""
    ours = []
    for data in files:
        path.write_bytes(data)
        ours.append(python_answer(path))
    theirs = [readers.answers(command, files) for command in commands]
    different = []
    for data, found, *others in zip(files, ours, *theirs, strict=True):
        code = found if isinstance(found, str) else ""
        raw_only = found if code.startswith("crash") else without_zstd(data, code) or found
        wanted = [raw_only if readers.lacks_zstd(command) else found for command in commands]
        if not all(map(agree, wanted, others)):
            different.append((data, [found, *others]))
    return different, Counter(found if isinstance(found, str) else "valid" for found in ours)


def fuzz(seconds, seed, folder, flags=("-O2",), batch=BATCH):
    """Run for some seconds: (executions, differences, codes seen)."""
    commands = [readers.javascript_command(), readers.c_command(folder, *flags)]
    commands = [command for command in commands if command is not None]
    seeds = [path.read_bytes() for path in sorted((CORPUS / "valid").glob("*.rq"))]
    seeds = [data for data in seeds if len(data) <= LARGEST_SEED]
    chance = random.Random(seed)
    executions, different, codes = 0, [], Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or not executions:
        files = [mutate.mutant(chance.choice(seeds), chance) for _ in range(batch)]
        found, seen = one_batch(files, commands, folder / "mutant.rq")
        executions += len(files)
        different += found
        codes += seen
    return executions, different, codes


def main():
    """Fuzz, and say what was seen; status 1 where readers differ."""
    parser = argparse.ArgumentParser(description="differential fuzzing of the readers of .rq")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        executions, different, codes = fuzz(options.seconds, options.seed, Path(folder))
    print(f"{executions} files, {len(different)} differences")
    print(", ".join(f"{code} {count}" for code, count in codes.most_common()))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"largest memory: {own >> 10} MiB here, {largest >> 10} MiB in another reader")
    for data, found in different[:20]:
        name = sha256(data).hexdigest()[:16]
        print(name, [str(answer)[:300] for answer in found])
        if options.keep:
            (options.keep / f"{name}.rq").write_bytes(data)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
