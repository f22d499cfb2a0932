"""What is said of a case whose outputs are no arrays."""

from refquant.conformance.exchange import Written
from refquant.conformance.judge import output_digest
from refquant.conformance.selection import select
from tests.conftest import REPOSITORY


def test_outputs_that_are_missing_are_not_those_of_another_case():
    (pack,) = select(REPOSITORY / "conformance", ["ggml-q4_0.decode.every-code"]).packs
    (case,) = pack.cases
    (output,) = case.outputs
    assert output_digest(case, Written(problems={output.name: "too short"})) == ""
    assert output_digest(case, Written({output.name: pack.array(output)}))
