"""Damaged files through all three readers: no crash, no difference."""

import random
import sys

import pytest

from conformance.container import fuzz, mutate, peers, random_layouts
from conformance.container.generate import CORPUS
from conformance.container.parts import build

EXAMPLE = (CORPUS / "valid" / "example.rq").read_bytes()


def assert_no_difference(run):
    assert run.files == sum(run.codes.values())
    assert not [(data.hex(), answers) for data, answers in run.different[:3]]
    assert len(run.codes) > 15
    assert run.codes["valid"] > run.files // 10


def test_readers_do_not_differ(tmp_path):
    assert_no_difference(fuzz.fuzz(4, 20_261_121, tmp_path, batch=200))


@pytest.mark.slow
def test_readers_do_not_differ_for_ten_minutes(tmp_path):
    assert_no_difference(fuzz.fuzz(600, random.SystemRandom().getrandbits(64), tmp_path))


def test_a_difference_is_found(tmp_path, monkeypatch):
    answer = fuzz.python_answer
    monkeypatch.setattr(
        fuzz, "python_answer", lambda path: "E_NAME" if answer(path) == "E_LENGTH" else answer(path)
    )
    assert fuzz.fuzz(0, 1, tmp_path, batch=100).different


def test_a_peer_that_dies_is_found_and_followed(tmp_path):
    program = tmp_path / "reader.py"
    program.write_text(MORTAL, "utf-8")
    with peers.Peer([sys.executable, str(program)]) as peer:
        peer.send([b"ab", b"die", b"cd", b"hoard", b"ef"])
        found = peer.collect()
        assert [found[0], found[2], found[4]] == ["E_2", "E_2", "E_2"]
        assert "status 9" in found[1]
        assert "MemoryError" in found[3]
        assert peer.starts == 3
        peer.send([b"abc"])
        assert peer.collect() == ["E_3"]


MORTAL = """
import json, struct, sys
while head := sys.stdin.buffer.read(4):
    data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
    if data == b"die":
        sys.exit(9)
    if data == b"hoard":
        bytearray(400 << 20)
    print(json.dumps({"code": f"E_{len(data)}"}), flush=True)
"""


def test_parts_taken_apart_go_together_again():
    for name in ("example", "example_compressed", "feature_frames", "order_of_awq"):
        data = (CORPUS / "valid" / f"{name}.rq").read_bytes()
        assert build(mutate.take_apart(data)) == data


def test_random_layouts_are_often_valid(tmp_path):
    chance = random.Random(3)
    path = tmp_path / "random.rq"
    found = []
    for _ in range(60):
        path.write_bytes(build(random_layouts.random_parts(chance)))
        found.append(isinstance(fuzz.python_answer(path), dict))
    assert sum(found) > 20
