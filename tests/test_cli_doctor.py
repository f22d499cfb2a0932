"""`refquant doctor`: versions, and probes that can fail."""

import numpy as np
import pytest

from refquant.cli import probes
from tests.command_line import call


def test_this_machine_is_sound(capsys):
    found = call(capsys, "doctor", "--json")
    assert found.status == 0
    assert found.json["sound"] is True
    assert found.json["packages"]["numpy"] == np.__version__
    assert all(check["passed"] for check in found.json["checks"] if check["exact_zone"])


def test_the_page_shows_versions_and_answers(capsys):
    found = call(capsys, "doctor")
    assert f"numpy                {np.__version__}" in found.out
    assert "ok    float32 addition is rounded once, to nearest even" in found.out


def test_a_failing_probe_fails_the_command(capsys, monkeypatch):
    monkeypatch.setattr(probes, "_subnormals_are_kept", lambda: False)
    found = call(capsys, "doctor")
    assert found.status == 1
    assert "FAIL  float32 subnormals are kept" in found.out
    assert "cannot be promised" in found.out


def test_a_read_only_cache_is_told_and_no_failure(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("REFQUANT_CACHE", str(tmp_path / "file"))
    found = call(capsys, "doctor")
    assert found.status == 0
    assert f"FAIL  the cache folder can be written ({tmp_path / 'file'})" in found.out


class Wrong:
    """NumPy with one operation replaced."""

    def __init__(self, **operations):
        self.__dict__.update(operations)

    def __getattr__(self, name):
        return getattr(np, name)


def off_by_one_ulp(function):
    def wrong(*operands, **options):
        found = function(*operands, **options)
        if found.dtype != np.float32:
            return found
        found = found.copy()
        found[-1] = np.nextafter(found[-1], np.float32(np.inf))
        return found

    return wrong


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "sqrt"])
def test_one_wrong_bit_in_one_element_is_seen(monkeypatch, name):
    before = dict(probes._operations())
    monkeypatch.setattr(probes, "np", Wrong(**{name: off_by_one_ulp(getattr(np, name))}))
    after = dict(probes._operations())
    assert all(before.values())
    assert sum(after.values()) == len(after) - 1


def test_a_product_that_keeps_its_last_bits_is_seen(monkeypatch):
    assert probes._products_are_rounded()
    wide = Wrong(full=lambda count, value, _dtype: np.full(count, value, np.float64))
    monkeypatch.setattr(probes, "np", wide)
    assert not probes._products_are_rounded()
