"""The corpus of `.rq` files: each defect refused under its own code, each valid file read to bits.

The files are read from `conformance/files/container`; that its generator reproduces them byte for
byte is a test of its own.
"""

import json
from hashlib import sha256

import pytest

import refquant
from conformance.container import generate, scheme_files
from conformance.container.byte_defects import DEFECTS, TOO_LARGE_TO_KEEP
from conformance.container.fuzz import decoded_digest
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import read, read_header

MANIFEST = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
UNSUPPORTED = {"E_VERSION", "E_EXT_CRITICAL"}
VALID_BUT_UNKNOWN = {"feature_unknown"}


def touch_everything(checkpoint):
    for name in checkpoint.tensors:
        checkpoint.tensors[name].dequantize()
    for name in checkpoint.documents:
        assert checkpoint.documents[name].name == name
    assert checkpoint.tokenizer is None or checkpoint.tokenizer.json


def refusal(path, **options):
    """The error with which a file is refused when everything in it is looked at."""
    with pytest.raises((FormatError, UnsupportedError)) as error:
        touch_everything(read(path, **options))
    return error.value


@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("name", DEFECTS)
def test_one_defect_one_code(name, use_mmap, tmp_path):
    code, when, make = DEFECTS[name]
    path = generate.CORPUS / "reject" / f"{name}.rq"
    if name in TOO_LARGE_TO_KEEP:
        path = tmp_path / "large.rq"
        path.write_bytes(make())
    error = refusal(path, verify="full", use_mmap=use_mmap)
    assert error.code == code
    unsupported = code in UNSUPPORTED or name in VALID_BUT_UNKNOWN
    assert isinstance(error, UnsupportedError if unsupported else FormatError)
    assert unsupported or error.path == str(path)
    assert (read_header(path).problem is None) == (when != "open")


@pytest.mark.parametrize("name", [n for n, (_, when, _) in DEFECTS.items() if when != "open"])
def test_what_shows_on_first_use_does_not_show_before(name):
    path = generate.CORPUS / "reject" / f"{name}.rq"
    _, when, _ = DEFECTS[name]
    checkpoint = read(path)
    if when == "touch":
        with pytest.raises(FormatError) as error:
            touch_everything(checkpoint)
        assert error.value.code == DEFECTS[name][0]
    else:
        touch_everything(checkpoint)


@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("name", MANIFEST["valid"])
def test_valid_files_have_the_manifests_bits(name, use_mmap):
    expected = MANIFEST["valid"][name]
    checkpoint = read(generate.CORPUS / "valid" / name, verify="full", use_mmap=use_mmap)
    found = {
        tensor: {
            "shape": list(checkpoint.tensors[tensor].shape),
            "sha256": decoded_digest(checkpoint.tensors[tensor].dequantize()),
        }
        for tensor in checkpoint.tensors
    }
    assert found == expected["tensors"]
    texts = {d: sha256(checkpoint.documents[d].data).hexdigest() for d in checkpoint.documents}
    if checkpoint.tokenizer is not None:
        texts["tokenizer.json"] = sha256(checkpoint.tokenizer.json).hexdigest()
    assert texts == expected["documents"]


def test_the_corpus_is_what_its_generator_writes():
    kept = {
        path.relative_to(generate.CORPUS).as_posix(): path.read_bytes()
        for path in generate.CORPUS.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert kept == generate.corpus()


def test_every_registered_scheme_has_a_file():
    missing = {found.name for found in refquant.schemes()} - set(scheme_files.scheme_names())
    assert not missing, "run `python -m conformance.container.generate`, then `make docs`"


def test_the_corpus_is_large_enough_and_small_enough():
    assert len(MANIFEST["reject"]) >= 200
    assert len(MANIFEST["valid"]) >= 40
    assert sum(path.stat().st_size for path in generate.CORPUS.rglob("*.rq")) < 1_100_000
