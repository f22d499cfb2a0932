"""tract: the Q4_0 that its transform writes, and the values that it gathers from blocks."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from protocol import Table, both, serve
from tract_archive import HEADER_BYTES, Q8_1, Q40, decoded, encoded


def encode(x, _):
    with tempfile.TemporaryDirectory() as folder:
        written = encoded(Path(folder), x)
    return {"blocks": np.frombuffer(written[HEADER_BYTES:], np.uint8)}


def decoder(kind):
    def decode(planes, shape):
        with tempfile.TemporaryDirectory() as folder:
            return decoded(Path(folder), kind, planes["blocks"].tobytes(), shape)

    return decode


def main() -> None:
    table: Table = {}
    both(table, "tract/q40", decoder(Q40), encode)
    both(table, "tract/q8_1", decoder(Q8_1))
    serve("tract", version("tract"), "Rust", table)


if __name__ == "__main__":
    main()
