"""Damaged files through all three readers: no crash, no difference."""

import random

import pytest

from conformance.container import fuzz, mutate, random_layouts
from conformance.container.generate import CORPUS
from conformance.container.parts import build

EXAMPLE = (CORPUS / "valid" / "example.rq").read_bytes()


def assert_no_difference(found):
    executions, different, codes = found
    assert executions == sum(codes.values())
    assert not [(data.hex(), answers) for data, answers in different[:3]]
    assert len(codes) > 15
    assert "valid" in codes


def test_readers_do_not_differ(tmp_path):
    flags = ("-O1", "-fsanitize=address,undefined")
    assert_no_difference(fuzz.fuzz(4, 20_261_121, tmp_path, flags, batch=200))


@pytest.mark.slow
def test_readers_do_not_differ_for_ten_minutes(tmp_path):
    assert_no_difference(fuzz.fuzz(600, random.SystemRandom().getrandbits(64), tmp_path))


def test_a_difference_is_found(tmp_path, monkeypatch):
    answer = fuzz.python_answer
    monkeypatch.setattr(
        fuzz, "python_answer", lambda path: "E_NAME" if answer(path) == "E_LENGTH" else answer(path)
    )
    _, different, _ = fuzz.fuzz(0, 1, tmp_path, batch=100)
    assert different


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
