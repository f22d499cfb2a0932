"""A Dask cluster whose worker is killed: the file is that of a single process."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.command_line import small_model
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "dask_worker.py"

FORMS = {"file": ([], "2000000", 0), "shards": (["--shard-size", "300kB"], "out-*.rq", 2)}


@pytest.mark.parametrize("form", FORMS)
def test_a_cluster_with_a_killed_worker_writes_the_same_bytes(oracle, tmp_path, form):
    python = oracle("dask")
    options, pattern, count = FORMS[form]
    sizes = {"layers": 8, "width": 256, "head_width": 64, "feedforward_width": 512}
    model = small_model(tmp_path / "model.rq", **sizes)
    for name in ("alone", "shared"):
        (tmp_path / name).mkdir()
    command = ["quantize", model, "--scheme", "q4_k", "--quiet", *options]

    def run(*arguments):
        # Both by the same interpreter: the version that is recorded is that of an installation.
        return subprocess.run(
            [python, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    alone = run("-m", "refquant", *command, "-o", tmp_path / "alone" / "out.rq")
    assert alone.returncode == 0, alone.stderr
    shared = [*command, "-o", tmp_path / "shared" / "out.rq"]
    done = run(WORKER, tmp_path / "shared", pattern, count, *shared)
    assert json.loads(done.stdout) == {"status": 0, "killed": 1, "workers": 2}, done.stderr
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
