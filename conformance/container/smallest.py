"""The few files of a grown corpus that reach all that it reaches, for `conformance/files/fuzz`.

    python -m conformance.container.smallest GROWN

`guided` grows a corpus. A file reaches steps from one line of the package to the next, each some
number of times, counted in powers of two as libFuzzer does. Steps that the corpus of
`conformance/files/container` takes already are not counted. Files are then chosen greedily by new
steps for each byte, at most 200 kB of them.
"""

import argparse
import sys
import tempfile
from collections import Counter
from hashlib import sha256
from pathlib import Path

from conformance.container.fuzz import KEPT, python_answer
from conformance.container.generate import CORPUS
from refquant import architectures, layout, mp1
from refquant.formats import rq

__all__ = ["chosen", "steps"]

ROOM = 200_000
LARGEST = 4096
WATCHED = (*(str(Path(room.__file__).parent) for room in (architectures, layout, rq)), mp1.__file__)


def steps(data, path):
    """(file, line, next line, power of two) of the package's reading of a file."""
    counts = Counter()

    def call(frame, _event, _argument):
        name = frame.f_code.co_filename
        if not name.startswith(WATCHED):
            return None
        last = frame.f_lineno

        def line(frame, event, _argument):
            nonlocal last
            if event == "line":
                counts[name, last, frame.f_lineno] += 1
                last = frame.f_lineno
            return line

        return line

    path.write_bytes(data)
    former = sys.gettrace()
    sys.settrace(call)
    try:
        python_answer(path, run=True)
    finally:
        sys.settrace(former)
    return frozenset((*step, count.bit_length()) for step, count in counts.items())


def chosen(files, known, room=ROOM):
    """Some of the (data, steps), most new steps for each byte first, that take `room` at most."""
    found, size, rest = [], 0, sorted(files, key=lambda file: (len(file[0]), file[0]))
    while True:
        rest = [file for file in rest if file[1] - known and size + len(file[0]) <= room]
        if not rest:
            return found
        data, taken = max(rest, key=lambda file: len(file[1] - known) / len(file[0]))
        found.append(data)
        size += len(data)
        known |= taken


def main():
    """Choose, and replace the files that are kept."""
    parser = argparse.ArgumentParser(description="choose what to keep of a grown corpus")
    parser.add_argument("grown", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.rq"
        known = set()
        for file in CORPUS.glob("*/*.rq"):
            if file.stat().st_size <= LARGEST:
                known |= steps(file.read_bytes(), path)
        grown = {file.read_bytes() for file in (*options.grown.iterdir(), *KEPT.glob("*.rq"))}
        files = [(data, steps(data, path)) for data in grown if len(data) <= LARGEST]
    kept = {f"{sha256(data).hexdigest()[:16]}.rq": data for data in chosen(files, set(known))}
    KEPT.mkdir(exist_ok=True)
    for file in KEPT.glob("*.rq"):
        file.unlink()
    for name, data in kept.items():
        (KEPT / name).write_bytes(data)
    print(f"{len(kept)} of {len(files)} files, {sum(map(len, kept.values()))} bytes")


if __name__ == "__main__":
    main()
