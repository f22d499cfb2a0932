import gc
import subprocess
import sys

import pytest

from refquant.cli.garbage import none_while_importing


def test_the_search_goes_on_after_imports_even_after_one_that_fails():
    with none_while_importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), none_while_importing():
        raise ImportError
    assert gc.isenabled()


def test_who_has_no_search_gets_none():
    gc.disable()
    try:
        with none_while_importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_ends_without_a_last_search():
    script = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); "
        "from refquant.cli import main; main(['--version'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "True", ended.stderr
