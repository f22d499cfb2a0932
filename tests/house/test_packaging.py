"""The wheel holds what a user needs, and nothing of the tests."""

import os
import subprocess
import sys
import zipfile

from tests.house import sources


def test_wheel_contents(repository, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=repository,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    expected = {sources.relative(path) for path in sources.modules()}
    expected |= {"refquant/py.typed", "refquant/demo/demo.rq"}
    assert expected <= set(names), expected - set(names)
    outside = [name for name in names if not name.startswith(("refquant/", "refquant-"))]
    assert not outside
    assert any(name.endswith("licenses/LICENSE-DATA") for name in names)
    check_suite(wheel, tmp_path)


def check_suite(wheel, folder):
    """The suite in the wheel is the whole one, and runs where there is no checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    code = (
        "import sys; from refquant.cli import main; sys.exit(main(['conformance', *sys.argv[1:]]))"
    )
    engine = f"{sys.executable} -m refquant.conformance.reference"
    wanted = ["decode/ggml", "container/valid-0", "tokenizer/once", "--engine", engine, "--quiet"]
    for words, said in (
        (["list", "--json"], '"cases": ['),
        (["guide", "--folder"], str(folder / "installed" / "refquant" / "suite")),
        (["guide"], "# conformance"),
        (["run", *wanted], " pass; suite "),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "installed")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-500:] + done.stderr
        assert said in done.stdout


def test_every_oracle_is_pinned():
    from tools.oracles import ORACLES

    for oracle in ORACLES.values():
        assert "==" in oracle.requirements[0]
