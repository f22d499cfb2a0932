"""Names of models and the paths they stand for."""

from pathlib import Path

import pytest

from refquant import library
from refquant.errors import UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFQUANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_cache_folder_prefers_its_own_variable_then_the_shared_one(monkeypatch, tmp_path):
    assert library.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("REFQUANT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert library.cache_folder() == tmp_path / "shared" / "refquant"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert library.cache_folder() == Path.home() / ".cache" / "refquant"


def test_a_path_stands_for_itself(tmp_path):
    (tmp_path / "model.rq").touch()
    assert library.resolve("model.rq") == Path("model.rq")
    assert library.resolve(tmp_path) == tmp_path


def test_a_name_wins_over_a_file_of_that_name(tmp_path):
    (tmp_path / "smollm2-135m").touch()
    with pytest.raises(UsageError, match="refquant pull smollm2-135m"):
        library.resolve("smollm2-135m")
    assert library.resolve("./smollm2-135m") == Path("./smollm2-135m")


def test_a_pulled_name_is_found_in_the_cache():
    stored = library.cached_path("smollm2-135m")
    stored.parent.mkdir(parents=True)
    stored.touch()
    assert library.resolve("smollm2-135m") == stored
    assert stored.suffix == ".gguf"


def test_a_hub_name_is_a_folder_of_the_cache(tmp_path):
    folder = tmp_path / "cache" / "hub" / "owner--name-1.5"
    folder.mkdir(parents=True)
    assert library.resolve("hf:owner/name-1.5") == folder


@pytest.mark.parametrize("name", ["hf:owner", "hf:../x", "hf:a/..", "hf:a/b/c", "hf:a/b\n", "hf:"])
def test_a_hub_name_cannot_leave_the_cache(name):
    with pytest.raises(UsageError, match="expected hf:OWNER/NAME"):
        library.hub_folder(name)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("smollm2-135", "smollm2-135m"),
        ("smollm", "smollm2-135m"),
        ("Demo", "demo"),
        ("modle.rq", "model.rq"),
        ("missing/model.rq", None),
        ("", None),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(tmp_path, text, meant):
    (tmp_path / "model.rq").touch()
    with pytest.raises(UsageError) as caught:
        library.resolve(text)
    if meant is None:
        assert "names: demo, smollm2-135m" in str(caught.value)
    else:
        assert str(caught.value).endswith(f"did you mean {meant}?")


def test_the_pins_are_whole_digests():
    for entry in library.PULLABLE.values():
        for digest in (entry.wheel_sha256, entry.member_sha256):
            assert len(bytes.fromhex(digest)) == 32
