"""Damaged files through all three readers: no crash, no difference."""

import random
import sys
from contextlib import ExitStack

import pytest

from conformance.container import fuzz, fuzz_sets, mutate, peers, random_layouts, smallest
from conformance.container.generate import CORPUS
from conformance.container.parts import build

EXAMPLE = (CORPUS / "valid" / "example.rq").read_bytes()


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return fuzz.programs(tmp_path_factory.mktemp("readers"))


@pytest.fixture(scope="module")
def other_readers(programs):
    with ExitStack() as stack:
        yield fuzz.open_peers(stack, programs)


def assert_no_difference(run):
    assert run.files == sum(run.codes.values())
    assert not [(data.hex(), answers) for data, answers in run.different[:3]]
    assert len(run.codes) > 15
    assert run.codes["valid"] > run.files // 10


def test_readers_do_not_differ(other_readers, tmp_path):
    assert_no_difference(fuzz.fuzz(2, 20_261_121, other_readers, tmp_path, batch=200))


def test_readers_do_not_differ_about_what_was_kept(other_readers, tmp_path):
    kept = [path.read_bytes() for path in sorted(fuzz.KEPT.glob("*.rq"))]
    assert len(kept) > 20
    assert sum(map(len, kept)) <= smallest.ROOM
    run = fuzz.Run()
    run.batch(kept, other_readers, tmp_path / "file.rq")
    assert not [(data.hex(), answers) for data, answers in run.different[:3]]


@pytest.fixture(scope="module")
def readers_of_sets(programs):
    with ExitStack() as stack:
        yield fuzz.open_peers(stack, programs, "--paths")


def test_readers_do_not_differ_about_sets(readers_of_sets, tmp_path):
    run = fuzz_sets.fuzz_sets(2, 20_261_121, readers_of_sets, tmp_path)
    assert not run.different[:3]
    assert run.codes["valid"] > run.files // 30
    assert len(run.codes) > 20


@pytest.mark.slow
def test_readers_do_not_differ_about_sets_for_five_minutes(readers_of_sets, tmp_path):
    seed = random.SystemRandom().getrandbits(64)
    assert not fuzz_sets.fuzz_sets(300, seed, readers_of_sets, tmp_path).different[:3]


def test_a_difference_about_sets_is_found(readers_of_sets, tmp_path, monkeypatch):
    answer = fuzz.python_answer

    def confused(path, **how):
        return "valid" if answer(path, **how) == "E_SHARD_ROOT" else "E_REF"

    monkeypatch.setattr(fuzz, "python_answer", confused)
    assert fuzz_sets.fuzz_sets(0, 1, readers_of_sets, tmp_path).different


def test_files_are_chosen_by_what_only_they_reach(tmp_path):
    path = tmp_path / "file.rq"
    files = [EXAMPLE, EXAMPLE[:64], EXAMPLE[:-1], EXAMPLE[:65]]
    reached = [(data, smallest.steps(data, path)) for data in files]
    # The fourth file is one byte too short as well, and longer.
    assert set(smallest.chosen(reached, frozenset())) == set(files[:3])
    assert smallest.chosen(reached, reached[0][1] | reached[1][1]) == [EXAMPLE[:-1]]
    assert smallest.chosen(reached, frozenset(), room=100) == [EXAMPLE[:64]]


def test_readers_do_not_differ_about_what_can_be_run(programs, tmp_path):
    with ExitStack() as stack:
        peers = fuzz.open_peers(stack, programs, "--run")
        # A number of files, not of seconds: what is reached must not hang on the machine's load.
        run = fuzz.fuzz(0, 20_261_121, peers, tmp_path, batch=700, run=True)
    assert_no_difference(run)
    assert {"E_JSON_SYNTAX", "E_ARCH_FIELD", "E_TOKENIZER_ID"} <= run.codes.keys()


@pytest.mark.slow
def test_readers_do_not_differ_for_ten_minutes(other_readers, tmp_path):
    seed = random.SystemRandom().getrandbits(64)
    assert_no_difference(fuzz.fuzz(600, seed, other_readers, tmp_path))


def test_a_difference_is_found(other_readers, tmp_path, monkeypatch):
    answer = fuzz.python_answer

    def confused(path, **how):
        return "E_NAME" if answer(path, **how) == "E_LENGTH" else answer(path, **how)

    monkeypatch.setattr(fuzz, "python_answer", confused)
    assert fuzz.fuzz(0, 1, other_readers, tmp_path, batch=100).different


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
