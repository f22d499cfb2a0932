"""The chapters on the container say what the code does: limits, codes, rules with files."""

import importlib
import json
import re

from conformance.container import generate
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
