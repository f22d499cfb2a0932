"""A file's texts are checked beside loading, and what is wrong with them is said first."""

import pytest

from refquant.cli import checked
from refquant.cli.checked import checked_meanwhile
from refquant.errors import FormatError
from refquant.formats import open_checkpoint, rq
from refquant.library import locate


def unsound(_checkpoint):
    raise FormatError("E_TOKENIZER", "no vocabulary")


@pytest.fixture(params=["here", "elsewhere"])
def checkpoint(request, monkeypatch):
    monkeypatch.setattr(checked, "LONG_TEXT", 0 if request.param == "elsewhere" else 1 << 40)
    return open_checkpoint(locate("demo"))


def test_what_is_sound(checkpoint):
    with checked_meanwhile(checkpoint):
        pass
    with pytest.raises(ZeroDivisionError), checked_meanwhile(checkpoint):
        raise ZeroDivisionError


def test_what_is_not(checkpoint, monkeypatch):
    monkeypatch.setattr(rq, "check_runnable", unsound)
    with pytest.raises(FormatError, match="no vocabulary"), checked_meanwhile(checkpoint):
        pass
    with pytest.raises(FormatError, match="no vocabulary"), checked_meanwhile(checkpoint):
        raise ZeroDivisionError
