"""The chapters on the container say what the code does: limits, codes, rules with files."""

import importlib
import json
import re
from functools import cache
from string import ascii_lowercase

import pytest

from conformance.container import generate, shard_files
from conformance.container.byte_defects import DEFECTS
from conformance.container.model_files import MODELS
from conformance.container.parts import ROWS
from conformance.container.shard_files import REJECT
from refquant import mp1
from refquant.architectures import FAMILIES
from refquant.errors import FormatError
from refquant.formats import strict_json
from refquant.formats.rq import KNOWN_FEATURES, limits
from refquant.formats.rq.runnable import TOKENIZER_KINDS
from refquant.layout import Layout, rules
from refquant.schemes import storage
from spec import container_tables
from tests.conftest import REPOSITORY

LIMITS = json.loads((REPOSITORY / "spec" / "limits.json").read_text("utf-8"))["limits"]


def test_limits_are_those_of_the_code():
    named = {row["constant"]: row["limit"] for row in LIMITS if "constant" in row}
    for place, limit in named.items():
        module, _, constant = place.rpartition(".")
        assert getattr(importlib.import_module(module), constant) == limit, place
    constants = {
        f"{module.__name__}.{name}"
        for module in (limits, rules, mp1, strict_json, storage)
        for name, value in vars(module).items()
        if name.isupper()
        and isinstance(value, int)
        and name not in ("MINOR", "MOST_GROUP")
        and name[0] != "_"
    }
    assert constants == named.keys()


def test_codes_of_limits_exist():
    assert {row["code"] for row in LIMITS} <= container_tables.CODES.keys()


@cache
def codes_of(folder):
    code = re.compile(r"\"(E_[A-Z0-9_]+)\"")
    files = (REPOSITORY / folder).rglob("*.py")
    return {c for path in files for c in code.findall(path.read_text("utf-8"))}


def test_the_chapter_on_errors_has_every_code_of_the_reader():
    raised = codes_of("refquant/formats/rq") | codes_of("refquant/layout")
    raised |= {c for c in codes_of("refquant") if c.startswith("E_MP_")}
    raised |= codes_of("refquant/architectures") & {"E_ARCH_FIELD", "E_ARCH_TENSOR"}
    raised |= codes_of("refquant/schemes") & {"E_DESC_OPS"}
    raised |= {c for c in codes_of("refquant/formats") if c.startswith("E_JSON_")}
    assert raised == container_tables.CODES.keys()


def test_every_code_of_the_reader_has_a_file():
    raised = codes_of("refquant/formats/rq") | codes_of("refquant/layout")
    raised |= {c for c in codes_of("refquant") if c.startswith("E_MP_")}
    shown = {code for code, _, _ in DEFECTS.values()} | {code for code, _, _ in REJECT.values()}
    shown |= {code for code, _ in MODELS.values() if code}
    raised |= codes_of("refquant/architectures") & {"E_ARCH_FIELD", "E_ARCH_TENSOR"}
    raised |= codes_of("refquant/schemes") & {"E_DESC_OPS"}
    raised |= {c for c in codes_of("refquant/formats") if c.startswith("E_JSON_")}
    # What a server can do wrong no file can: tests/test_rq_http.py has each.
    assert {code for code in raised if not code.startswith("E_HTTP_")} == shown


def test_stages_are_those_of_the_corpus():
    manifest = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
    for name, entry in manifest["reject"].items():
        assert entry["stage"] in container_tables.CODES[entry["code"]][0], name


def test_codes_in_the_chapters_exist():
    for page in sorted((REPOSITORY / "spec").glob("*.md")):
        for code in re.findall(r"`(E_[A-Z0-9_]+)`", page.read_text("utf-8")):
            assert code in container_tables.CODES or not code.startswith("E_"), (page.name, code)


REACHED = json.loads((REPOSITORY / "conformance" / "container" / "rules.json").read_text("utf-8"))


def paragraphs():
    """Every rule's own text, by its id."""
    top = REPOSITORY / "spec"
    for chapter in sorted([*top.glob("*.md"), *top.glob("arch/*.md")]):
        text = chapter.read_text("utf-8")
        for found in re.finditer(
            r"^- \*\*([A-Z]+-\d+)\*\* (.*?)(?=^- \*\*|^#|\Z)", text, re.DOTALL | re.MULTILINE
        ):
            yield found[1], found[2]
        yield from re.findall(r"^\| ([A-Z]+-\d+) \| (.*)$", text, re.MULTILINE)


def test_every_rule_has_one_id_and_a_file():
    ids = [rule for rule, _ in paragraphs()]
    assert len(ids) == len(set(ids))
    assert set(ids) == REACHED.keys()


def test_files_of_rules_exist_and_show_a_code_of_the_rule():
    manifest = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
    sharded = json.loads((shard_files.CORPUS / "manifest.json").read_text("utf-8"))
    texts = dict(paragraphs())
    for rule, places in REACHED.items():
        for place in places:
            kind, _, name = place.partition("/")
            if kind == "tests":
                path, _, test = place.partition("::")
                assert f"def {test}" in (REPOSITORY / path).read_text("utf-8"), place
                continue
            if kind == "sharded":
                kind, _, name = name.partition("/")
                entry = sharded[kind][name]
            else:
                entry = manifest[kind][f"{name}.rq"]
            code = entry.get("code") or entry.get("run", "")
            assert code in texts[rule] or code.startswith("E_SCHEMA_") or kind == "valid", place


def listed(page, head):
    """The first column of the table with this head."""
    text = (REPOSITORY / "spec" / page).read_text("utf-8")
    table = text.partition(f"| {head} |")[2].partition("\n\n")[0]
    rows = [row for row in table.splitlines()[2:] if row.startswith("|")]
    return [row.split("|")[1].strip().strip("`") for row in rows]


def parse_code(change):
    """The code under which a layout is refused with its element or formula changed."""
    elements = {"q": {**ROWS["fields"]["q"], **change.pop("field", {})}, "s": ROWS["fields"]["s"]}
    with pytest.raises(FormatError) as error:
        Layout.parse({**ROWS, "fields": elements, **change})
    return error.value.code


def test_the_registry_has_what_the_readers_know():
    assert listed("registry.md", "kind | algorithm | ids to bytes") == list(TOKENIZER_KINDS)
    bits = [bit for bit in range(32) if KNOWN_FEATURES >> bit & 1]
    assert [str(bit) for bit in bits] == listed("registry.md", "bit | feature")[: len(bits)]
    families = listed("registry.md", "family | models")
    assert [re.findall(r"\w+", name)[0] for name in families] == list(FAMILIES)
    known = {
        letter
        for letter in ascii_lowercase
        if parse_code({"field": {"elem": {"k": letter}}}) != "E_DESC_ELEM"
    }
    assert known == set(listed("registry.md", "`k` | element"))
    for operator in listed("registry.md", "operator | result"):
        assert parse_code({"value": [operator, "q"]}) == "E_DESC_EXPR"
    assert parse_code({"value": ["pow", "q"]}) == "E_DESC_OP"
