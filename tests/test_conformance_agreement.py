"""Nothing goes into a pack that only one computation gives."""

import numpy as np
import pytest

import refquant
from conformance.generators.agreement import check_values
from conformance.generators.command import status_of
from conformance.oracle import ggml
from refquant.errors import ConformanceError


@pytest.fixture
def tensor():
    return refquant.quantize(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32), "q4_0")


def test_values_of_both_are_taken(tensor):
    check_values(tensor, tensor.dequantize(), "a case")


def test_other_values_are_not(tensor):
    values = tensor.dequantize().copy()
    values[1, 3] = np.nextafter(values[1, 3], np.float32(9))
    with pytest.raises(ConformanceError, match=r"a case: the package has .* at 35"):
        check_values(tensor, values, "a case")


def test_a_declaration_that_the_clauses_do_not_bear_out_is_told(tensor, monkeypatch):
    """The plain interpreter reads the declaration; the decoder of the clauses does not."""
    wrong = (32, lambda data, n: ggml.q4_0(data, 31 - n))
    monkeypatch.setattr(ggml, "DECODERS", {**ggml.DECODERS, "q4_0": wrong})
    with pytest.raises(ConformanceError, match="by the clauses alone"):
        check_values(tensor, tensor.dequantize(), "a case")


def test_an_error_of_a_generator_is_one_line_and_its_status(capsys):
    def command():
        raise ConformanceError("they differ")

    assert status_of(command) == 1
    assert capsys.readouterr().err == "refquant: they differ\n"
    assert status_of(lambda: 0) == 0
