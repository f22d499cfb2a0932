"""The committed page of who does what: enough engines, each deviation explained and repeatable."""

import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from refquant.conformance.selection import find_case, select
from tests.conftest import REPOSITORY

SUITE = REPOSITORY / "conformance"


@pytest.fixture(scope="module")
def found():
    return json.loads((SUITE / "matrix.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(REPOSITORY / "tools"))
    from matrix_page import page

    return page


def test_the_page_is_that_of_the_data(found, page):
    assert (SUITE / "matrix.html").read_text("utf-8") == page(found)


def test_there_are_enough_engines(found):
    there = [one for one in found["engines"] if "absent" not in one]
    assert len(there) >= 10
    assert len({one["language"] for one in there}) >= 3
    for one in there:
        assert one["version"]
        assert one["environment"]
        assert one["problems"] == []
        assert one["counts"]["pass"] > 10
    versions = Counter(one["name"] for one in there)
    assert sum(count > 1 for count in versions.values()) >= 2


def test_each_deviation_is_explained_and_repeatable(found):
    packs = select(SUITE).packs
    for engine in found["engines"]:
        for one in engine.get("deviations", ()):
            assert one["kind"] in ("differs", "other")
            assert one["clause"]
            assert one["why"]
            assert one["input"]
            assert set(one["clause"].split(", ")) <= set(found["clauses"])
            find_case(packs, one["smallest"])
            wanted = f"refquant conformance replay {one['smallest']} --engine '{engine['command']}'"
            assert one["replay"] == wanted


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.to, self.ids, self.open = set(), set(), []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        if given.get("href", "").startswith("#"):
            self.to.add(given["href"][1:])
        if "popovertarget" in given:
            self.to.add(given["popovertarget"])
        if tag not in ("meta", "br", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere(found, page):
    found["engines"][0]["name"] = "<b>& a name"
    text = page(found)
    assert "<b>& a name" not in text
    assert not re.search(r'(src|href)="(?!#)', text)
    links = Links()
    links.feed(text)
    assert links.to
    assert links.to <= links.ids
    assert links.open == []
