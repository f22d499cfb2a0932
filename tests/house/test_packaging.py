"""The wheel holds what a user needs, and nothing of the tests."""

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


def test_every_oracle_is_pinned():
    from tools.oracles import ORACLES

    for oracle in ORACLES.values():
        assert "==" in oracle.requirements[0]
