"""Sharded models of the corpus: every reader gives the manifest's answer to every set of files."""

import json
import subprocess
from hashlib import sha256

import pytest

from conformance.container import readers, shard_defects, shard_files
from conformance.container.fuzz import decoded_digest
from conformance.container.parts import CHAT
from conformance.container.shard_files import CORPUS, ROOT
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import read, read_header

MANIFEST = json.loads((CORPUS / "manifest.json").read_text("utf-8"))
SETS = [(kind, name) for kind in ("valid", "reject") for name in MANIFEST[kind]]


def expected(kind, name, *, lacks_zstd=False):
    entry = MANIFEST[kind][name]
    if lacks_zstd and "without_zstd" in entry:
        return entry["without_zstd"]
    return entry.get("code") or {key: entry[key] for key in ("tensors", "documents")}


def answer(path, **options):
    """The code, or the digests of everything decoded."""
    try:
        found = read(path, **options)
        tensors = {
            name: {"shape": list(one.shape), "sha256": decoded_digest(one.dequantize())}
            for name, one in found.tensors.items()
        }
    except (FormatError, UnsupportedError) as error:
        return error.code
    documents = {name: one.data for name, one in found.documents.items()}
    if found.tokenizer is not None:
        documents["tokenizer.json"] = found.tokenizer.json
    texts = {name: sha256(text).hexdigest() for name, text in documents.items()}
    return {"tensors": tensors, "documents": texts}


@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "read"])
def test_the_package_agrees(use_mmap):
    for kind, name in SETS:
        path = CORPUS / kind / name / ROOT
        assert answer(path, verify="full", use_mmap=use_mmap) == expected(kind, name), name


def test_the_faster_levels_agree_once_everything_is_touched():
    for kind, name in SETS:
        wanted = expected(kind, name)
        # Segments out of order and wrong SHA-256 are for "full" alone to find.
        if name != "a_wrong_digest_in_a_shard":
            assert answer(CORPUS / kind / name / ROOT) == wanted, name
        if kind == "valid":
            assert answer(CORPUS / kind / name / ROOT, verify="trust") == wanted, name


def test_what_a_root_says_is_checked_before_any_shard_is_opened(tmp_path):
    for name, (code, _, make) in shard_files.REJECT.items():
        if make.__module__ == shard_defects.__name__ and name in MANIFEST["reject"]:
            (tmp_path / ROOT).write_bytes((CORPUS / "reject" / name / ROOT).read_bytes())
            assert read_header(tmp_path / ROOT).problem.code == code, name


def two_defects(folder):
    """A root with a damaged document, and without its last shard."""
    files = shard_files.files_of(shard_files.VALID["two_shards"])
    place = files[ROOT].index(CHAT)
    files[ROOT] = files[ROOT][:place] + b"[" + files[ROOT][place + 1 :]
    for name in (ROOT, "first.rq"):
        (folder / name).write_bytes(files[name])


def program(language, folder):
    """The command of a reader, before the names of files."""
    command = (
        readers.c_command(folder, "-g", "-fsanitize=address,undefined")
        if language == "c"
        else readers.javascript_command()
    )
    if command is None:
        pytest.skip("no Node or no C compiler is installed")
    return [part for part in command if part != "--stdin"]


def answers(command, paths):
    done = subprocess.run([*command, *map(str, paths), "--json"], capture_output=True, check=False)
    assert not done.stderr
    return [readers.normalized(json.loads(line)) for line in done.stdout.splitlines()]


def test_shards_are_opened_before_any_segment_is_checked(tmp_path):
    two_defects(tmp_path)
    assert answer(tmp_path / ROOT, verify="full") == "E_SHARD_MISSING"


@pytest.mark.parametrize("language", ["javascript", "c"])
def test_other_readers_agree(language, tmp_path):
    command = program(language, tmp_path)
    two_defects(tmp_path)
    assert answers(command, [tmp_path / ROOT]) == ["E_SHARD_MISSING"]
    found = answers(command, [CORPUS / kind / name / ROOT for kind, name in SETS])
    lacks = readers.lacks_zstd(command)
    wanted = [expected(kind, name, lacks_zstd=lacks) for kind, name in SETS]
    wrong = [row for row in zip(SETS, found, wanted, strict=True) if row[1] != row[2]]
    assert not wrong


def test_sets_too_large_to_keep(tmp_path):
    for code, files in shard_files.on_demand().values():
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        assert answer(tmp_path / ROOT) == code


def test_the_corpus_is_what_its_generator_writes():
    kept = {
        path.relative_to(CORPUS).as_posix(): path.read_bytes()
        for path in CORPUS.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert kept == shard_files.corpus()
