"""Damaged `.rq` files of every kind: refused for a reason, or read; never anything else."""

import os
import random

import pytest

from conformance.container.mutate import change_bytes, change_meaning, spelled
from conformance.container.parts import build, compressed_example, example
from refquant import mp1
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import read
from tests.test_rq_defects import touch_everything


@pytest.mark.parametrize("make", [example, compressed_example])
def test_truncation_at_every_byte(make, tmp_path):
    data = build(make())
    path = tmp_path / "cut.rq"
    path.write_bytes(data)
    for end in reversed(range(len(data))):
        os.truncate(path, end)
        with pytest.raises(FormatError) as error:
            read(path, use_mmap=end % 2 == 0)
        assert error.value.code == ("E_SIZE" if end < 128 else "E_LENGTH")


def readable(path):
    """True if the file reads; False if it is refused as it should be."""
    try:
        touch_everything(read(path, verify="full"))
    except (FormatError, UnsupportedError):
        return False
    return True


def test_flipped_bytes_are_noticed(tmp_path):
    """Whatever bytes change, only the informative minor version may still read."""
    chance = random.Random(1)
    path = tmp_path / "flipped.rq"
    for make in (example, compressed_example):
        original = build(make())
        for _ in range(400):
            data = bytearray(original)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] ^= chance.randint(1, 255)
            path.write_bytes(data)
            assert not readable(path)


def test_noise_in_the_header_bytes(tmp_path):
    """Mutations under right checksums, so that they reach the parser."""
    chance = random.Random(2)
    path = tmp_path / "noise.rq"
    outcomes = {True: 0, False: 0}
    for _ in range(1200):
        parts = example()
        data = bytearray(mp1.encode(parts.header))
        for _ in range(chance.randint(1, 2)):
            change_bytes(data, chance)
        parts.header = bytes(data)
        path.write_bytes(build(parts))
        outcomes[readable(path)] += 1
    assert min(outcomes.values()) > 10


def test_noise_in_the_table(tmp_path):
    chance = random.Random(3)
    path = tmp_path / "noise.rq"
    for _ in range(600):
        parts = chance.choice([example, compressed_example])()
        entry = chance.randrange(len(parts.payloads) + 1)
        large = [0, 1, 63, 64, 2**31, 2**32, 2**63, 2**64 - 64, 2**64 - 1, chance.randrange(2000)]
        choices = [(field, large) for field in range(3)] + [(field, range(256)) for field in (4, 5)]
        for field, values in chance.sample(choices, chance.randint(1, 2)):
            parts.entries.setdefault(entry, {})[field] = chance.choice(values)
        path.write_bytes(build(parts))
        readable(path)


def test_noise_in_the_headers_meaning(tmp_path):
    """Well-formed headers that say odd things, so that they reach the schema and the layouts."""
    chance = random.Random(4)
    path = tmp_path / "noise.rq"
    outcomes = {True: 0, False: 0}
    for _ in range(1500):
        parts = example()
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            change_meaning(parts.header, chance)
        parts.header = spelled(parts.header)
        path.write_bytes(build(parts))
        outcomes[readable(path)] += 1
    assert min(outcomes.values()) > 30
