"""Fuzzing of the readers of others' formats, led by coverage.

    python -m tests.hostile_guided --format gguf --seconds 600 --corpus grown

Needs atheris (`python tools/oracles.py --build atheris`). libFuzzer says what it finds.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["refquant.formats", "refquant.architectures"], enable_loader_override=False
):
    from tests import hostile_files

__all__ = ["main"]


def main():
    """Fuzz one format for some seconds; the process ends with status 0 if nothing is found."""
    parser = argparse.ArgumentParser(description="fuzzing of the readers of others' formats")
    parser.add_argument("--format", choices=hostile_files.FORMATS, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, required=True)
    options = parser.parse_args()
    options.corpus.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    seed, change = hostile_files.FORMATS[options.format]
    for number in range(50):
        (options.corpus / f"seed{number}").write_bytes(seed(chance))
    folder = Path(tempfile.mkdtemp())

    def target(data):
        said = hostile_files.answer(options.format, data, folder)
        if said.startswith(("crash", "hang")):
            raise AssertionError(said)

    def changed(data, largest, number):
        drawn = random.Random(number)
        if drawn.random() < 0.3:
            return atheris.Mutate(data, largest)
        return change(bytes(data), drawn)[:largest]

    flags = [f"-max_total_time={options.seconds}", "-max_len=8192", "-rss_limit_mb=512"]
    atheris.Setup([sys.argv[0], *flags, str(options.corpus)], target, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
