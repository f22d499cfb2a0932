"""Each defect is refused under its own code, by every way of reading."""

import re

import pytest

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq import read, read_header
from tests import rq_header_defects
from tests.conftest import REPOSITORY
from tests.rq_defects import DEFECTS
from tests.rq_files import build, compressed_example, example

assert rq_header_defects.DEFECTS is DEFECTS

UNSUPPORTED = {"E_VERSION", "E_EXT_CRITICAL"}
VALID_BUT_UNKNOWN = {"feature_shards", "feature_level_2", "feature_unknown"}


def touch_everything(checkpoint):
    for name in checkpoint.tensors:
        checkpoint.tensors[name].dequantize()
    for name in checkpoint.documents:
        assert checkpoint.documents[name].name == name
    assert checkpoint.tokenizer is None or checkpoint.tokenizer.json


@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("name", DEFECTS)
def test_one_defect_one_code(name, use_mmap, tmp_path):
    code, when, make = DEFECTS[name]
    path = tmp_path / "defect.rq"
    path.write_bytes(make())
    unsupported = code in UNSUPPORTED or name in VALID_BUT_UNKNOWN
    kind = UnsupportedError if unsupported else FormatError
    if when == "open":
        with pytest.raises(kind) as error:
            read(path, verify="trust", use_mmap=use_mmap)
    elif when == "touch":
        checkpoint = read(path, use_mmap=use_mmap)
        with pytest.raises(kind) as error:
            touch_everything(checkpoint)
    else:
        touch_everything(read(path, use_mmap=use_mmap))
        with pytest.raises(kind) as error:
            read(path, verify="full", use_mmap=use_mmap)
    assert error.value.code == code
    if kind is FormatError:
        assert error.value.path == str(path)
    assert (read_header(path).problem is None) == (when != "open")


def test_the_example_has_no_defect(tmp_path):
    for parts in (example(), compressed_example()):
        path = tmp_path / "valid.rq"
        path.write_bytes(build(parts))
        touch_everything(read(path, verify="full"))


def test_every_code_is_in_the_chapter_and_has_a_defect():
    folder = REPOSITORY / "refquant" / "formats" / "rq"
    code = re.compile(r"[\"`](E_(?!MP_)[A-Z0-9_]+)[\"`]")
    raised = {c for path in folder.glob("*.py") for c in code.findall(path.read_text("utf-8"))}
    described = set(code.findall((REPOSITORY / "spec" / "02-container.md").read_text("utf-8")))
    assert raised == described
    assert raised <= {found for found, _, _ in DEFECTS.values()}
