"""A command that is run once for each case."""

from pathlib import Path

import pytest

from refquant.conformance.exchange import Request
from refquant.conformance.exec_engine import ExecEngine
from refquant.conformance.replies import Limits


@pytest.mark.parametrize("said", ["E_MAGIC", "E_MAGIC\\n", "\\n E_MAGIC \\nwords\\n"])
def test_a_code_needs_no_end_of_line(said, tmp_path: Path):
    engine = ExecEngine(f"sh -c 'printf \"{said}\"; exit 3' {{dir}}", Limits())
    reply = engine.run(Request("container", {}, (), (), (), 60.0, tmp_path), lambda: None)
    assert (reply.outcome, reply.code) == ("rejected", "E_MAGIC")
