"""The chapters on the container say what the code does: limits, codes, rules with files."""

import importlib
import json
import re

from conformance.container import generate, shard_files
from refquant import mp1
from refquant.formats.rq import limits
from refquant.layout import rules
from spec import container_tables
from tests.conftest import REPOSITORY
from tests.test_rq_defects import codes_of

LIMITS = json.loads((REPOSITORY / "spec" / "limits.json").read_text("utf-8"))["limits"]


def test_limits_are_those_of_the_code():
    named = {row["constant"]: row["limit"] for row in LIMITS if "constant" in row}
    for place, limit in named.items():
        module, _, constant = place.rpartition(".")
        assert getattr(importlib.import_module(module), constant) == limit, place
    constants = {
        f"{module.__name__}.{name}"
        for module in (limits, rules, mp1)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int) and name != "MINOR"
    }
    assert constants == named.keys()


def test_codes_of_limits_exist():
    assert {row["code"] for row in LIMITS} <= container_tables.CODES.keys()


def test_the_chapter_on_errors_has_every_code_of_the_reader():
    raised = codes_of("refquant/formats/rq") | codes_of("refquant/layout")
    raised |= {c for c in codes_of("refquant") if c.startswith("E_MP_")}
    assert raised == container_tables.CODES.keys()


def test_stages_are_those_of_the_corpus():
    manifest = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
    for name, entry in manifest["reject"].items():
        assert entry["stage"] in container_tables.CODES[entry["code"]][0], name


def test_codes_in_the_chapters_exist():
    for page in sorted((REPOSITORY / "spec").glob("*.md")):
        for code in re.findall(r"`(E_[A-Z0-9_]+)`", page.read_text("utf-8")):
            assert code in container_tables.CODES or not code.startswith("E_"), (page.name, code)


CHAPTERS = (
    "02-container",
    "03-rq-mp1",
    "04-header",
    "05-descriptors",
    "07-compression",
    "09-sharding",
    "10-writing",
    "11-reading",
)
REACHED = json.loads((REPOSITORY / "conformance" / "container" / "rules.json").read_text("utf-8"))


def paragraphs():
    """Every rule's own text, by its id."""
    for chapter in CHAPTERS:
        text = (REPOSITORY / "spec" / f"{chapter}.md").read_text("utf-8")
        for found in re.finditer(
            r"^- \*\*([A-Z]+-\d+)\*\* (.*?)(?=^- \*\*|^#|\Z)", text, re.DOTALL | re.MULTILINE
        ):
            yield found[1], found[2]


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
            code = entry.get("code", "")
            assert code in texts[rule] or code.startswith("E_SCHEMA_"), (rule, place, code)
