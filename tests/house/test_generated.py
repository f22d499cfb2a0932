"""Generated regions can become stale, and that is noticed."""

import subprocess
import sys

import pytest

from spec import generate


def test_regions_are_fresh(repository):
    answer = subprocess.run(
        [sys.executable, "-m", "spec.generate", "--check"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_stale_region_is_made_anew():
    stale = "before\n<!-- begin rooms -->\nnothing\n<!-- end rooms -->\nafter\n"
    fresh = generate.filled(stale)
    assert "nothing" not in fresh
    assert fresh.startswith("before\n")
    assert fresh.endswith("after\n")
    assert generate.filled(fresh) == fresh


def test_a_region_of_unknown_name_is_an_error():
    with pytest.raises(KeyError):
        generate.filled("<!-- begin nobody -->\nx\n<!-- end nobody -->\n")


@pytest.mark.parametrize("name", generate.REGIONS)
def test_every_region_is_on_some_page(name):
    assert any(f"<!-- begin {name} -->" in page.read_text("utf-8") for page in generate.pages())
