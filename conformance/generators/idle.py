"""Engines that compute nothing, and the cases that they pass: none that counts as evidence.

python -m conformance.generators.idle      print the cases; status 1 where one is not excepted
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from refquant.conformance.dtypes import DTYPES
from refquant.conformance.exchange import Written
from refquant.conformance.judge import judge
from refquant.conformance.packs import Array, Case, Pack, read_suite
from refquant.conformance.replies import Hello, Reply

__all__ = ["EXCEPTED", "IDLE", "passed", "unexcused"]

FOLDER = Path(__file__).resolve().parents[1]
DONE = Reply("answer", {"outcome": "ok"})


def _zeros(_: Pack, __: Case, array: Array) -> bytes | None:
    return bytes(array.nbytes)


def _nothing(_: Pack, __: Case, array: Array) -> bytes | None:
    """The runner knows the pattern that stood there; only no bytes at all are as they were."""
    return None if array.nbytes else b""


def _inputs(pack: Pack, case: Case, array: Array) -> bytes | None:
    """The inputs one behind the other, as often as they fit."""
    raw = b"".join(map(pack.raw, case.inputs)) or b"\0"
    return (raw * (array.nbytes // len(raw) + 1))[: array.nbytes]


IDLE: Mapping[str, Callable[[Pack, Case, Array], bytes | None]] = {
    "zeros": _zeros,
    "nothing": _nothing,
    "inputs": _inputs,
}
"""What each of them leaves in an output; None where it leaves it alone."""

SAME = "these numbers are stored as they are: their bytes do not change"
EMPTY = "nothing becomes nothing: the case is for engines that fail on an empty text"
PLAIN = (
    "aeq-fp16",
    "diffulex-fp16",
    "float-f32",
    "float-f16",
    "float-bf16",
    "float-f8_e*",
)
EXCEPTED: Mapping[str, str] = {
    "float-f32.*code.*": SAME,
    **{f"{scheme}.*pack.every-code": SAME for scheme in PLAIN},
    "tokenizer.bytes.*tokenize.empty-1": EMPTY,
    "tokenizer.bytes.detokenize.empty-2": "the id of a space is the byte of a space",
}
"""Patterns of ids of cases that an idle engine may pass, each with the reason."""


def passed(packs: Sequence[Pack]) -> Iterator[tuple[str, str]]:
    """The engine and the case, for every case that an idle engine passes."""
    for pack in packs:
        for case in pack.cases:
            for name, left in IDLE.items():
                written = Written()
                for array in case.outputs:
                    raw = left(pack, case, array)
                    if raw is None:
                        written.problems[array.name] = "the output was not written"
                        continue
                    values = np.frombuffer(raw, DTYPES[array.dtype])
                    written.arrays[array.name] = values.reshape(array.shape)
                if judge(pack, case, DONE, written, Hello("idle")).result == "pass":
                    yield name, case.id


def unexcused(packs: Sequence[Pack]) -> list[str]:
    """What is not as `EXCEPTED` says: cases that it does not name, and lines that name none."""
    found = list(passed(packs))
    ids = {case for _, case in found}
    return [
        *(
            f"{name} passes {case}"
            for name, case in found
            if not any(fnmatchcase(case, pattern) for pattern in EXCEPTED)
        ),
        *(
            f"no idle engine passes {pattern}"
            for pattern in EXCEPTED
            if not any(fnmatchcase(case, pattern) for case in ids)
        ),
    ]


def main() -> int:
    """The command."""
    wrong = unexcused(read_suite(FOLDER)[1])
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
