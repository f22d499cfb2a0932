"""Fuzzing led by coverage finds no difference between the readers of `.rq`."""

import json
import os
import subprocess

import pytest

from conformance.container.generate import CORPUS
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.differential


def test_readers_do_not_differ(oracle, tmp_path):
    command = [oracle("atheris"), "-m", "conformance.container.guided", "--seconds", "120"]
    done = subprocess.run(
        [*command, "--corpus", tmp_path / "grown", "--keep", tmp_path / "found"],
        cwd=REPOSITORY,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["differences"] == 0
    # Coverage has led it: files of its own stand beside those it began with.
    begun = [path for path in CORPUS.glob("*/*.rq") if path.stat().st_size <= 4096]
    assert last["files"] > len(begun)
    assert len(list((tmp_path / "grown").iterdir())) > len(begun)
