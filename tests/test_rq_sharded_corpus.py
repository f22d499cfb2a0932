"""Sharded models of the corpus: every reader gives the manifest's answer to every set of files."""

import json
import subprocess
from hashlib import sha256

import numpy as np
import pytest

from conformance.container import readers, shard_files
from conformance.container.shard_files import CORPUS, ROOT
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import read

MANIFEST = json.loads((CORPUS / "manifest.json").read_text("utf-8"))
SETS = [(kind, name) for kind in ("valid", "reject") for name in MANIFEST[kind]]


def expected(kind, name, *, lacks_zstd=False):
    entry = MANIFEST[kind][name]
    if lacks_zstd and "without_zstd" in entry:
        return entry["without_zstd"]
    return entry.get("code") or {key: entry[key] for key in ("tensors", "documents")}


def decoded_digest(values):
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    return sha256(bits.astype("<u4").tobytes()).hexdigest()


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


@pytest.mark.parametrize("language", ["javascript", "c"])
def test_other_readers_agree(language, tmp_path):
    command = (
        readers.c_command(tmp_path, "-g", "-fsanitize=address,undefined")
        if language == "c"
        else readers.javascript_command()
    )
    if command is None:
        pytest.skip("no Node or no C compiler is installed")
    program = [part for part in command if part != "--stdin"]
    paths = [str(CORPUS / kind / name / ROOT) for kind, name in SETS]
    done = subprocess.run([*program, *paths, "--json"], capture_output=True, check=False)
    assert not done.stderr
    found = [readers.normalized(json.loads(line)) for line in done.stdout.splitlines()]
    lacks = readers.lacks_zstd(program)
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
