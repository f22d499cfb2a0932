"""Cases with their rows in another order: who computes can answer them, who copies cannot."""

from pathlib import Path

import msgspec
import numpy as np

from refquant.conformance.compare import compare
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.evidence import CONTROLS, Controls, Options
from refquant.conformance.judge import result_of
from refquant.conformance.operations import Task, fitted, perform
from refquant.conformance.replies import Hello, Limits, Reply
from refquant.conformance.rotated import rotated
from refquant.conformance.runner import run
from refquant.conformance.selection import select
from tests.conftest import REPOSITORY

SUITE = REPOSITORY / "conformance"


def cases_of(*patterns):
    return [(pack, case) for pack in select(SUITE, patterns).packs for case in pack.cases]


def test_rows_of_every_case_are_independent_where_they_are_rotated():
    """The reference answers all of them, so an engine that computes can be asked any."""
    asked = [one for pc in cases_of() if (one := rotated(*pc)) is not None]
    assert len(asked) > 1500
    for pack, case in asked:
        inputs = {one.name: pack.array(one) for one in case.inputs}
        outputs = {one.name: (DTYPES[one.dtype], one.shape) for one in case.outputs}
        with np.errstate(all="ignore"):
            found = fitted(perform(Task(case.op, case.params, inputs, outputs)), outputs)
        for one in case.outputs:
            assert compare(pack, case, one, found[one.name], {}).passed, case.id


def test_the_first_row_stands_behind_the_last():
    ((pack, case),) = cases_of("ggml-q4_0.decode.every-code")
    whole, turned = rotated(pack, case)
    for before, after in zip(
        case.inputs + case.outputs, turned.inputs + turned.outputs, strict=True
    ):
        rolled = np.roll(pack.array(before), -1, axis=0)
        assert whole.array(after).tobytes() == rolled.tobytes() != pack.raw(before)


def test_what_has_no_rows_is_left_alone():
    for name in ("integer/matmul-1", "ggml-q4_0.linear.*", "tokenizer.bytes.*empty*"):
        assert all(rotated(*pc) is None for pc in cases_of(name))
    ((pack, case),) = cases_of("ggml-q4_0.decode.every-code")
    other_axis = msgspec.structs.replace(case, params={**case.params, "axis": 0})
    assert rotated(pack, other_axis) is None


class Copyist:
    """Has read the packs, and answers whatever stands in them."""

    starts, option = 1, ""

    def __init__(self, cases):
        self.known = {
            (case.params["scheme"], b"".join(map(pack.raw, case.inputs))): [
                pack.raw(one) for one in case.outputs
            ]
            for pack, case in cases
        }

    def start(self):
        return Hello("copyist")

    def run(self, request, meanwhile):
        meanwhile()
        asked = b""
        for one in request.inputs:
            asked += Path(one["path"]).read_bytes()[one["off"] :][: one["len"]]
        known = self.known.get((request.params["scheme"], asked), ())
        for one, raw in zip(request.outputs, known, strict=False):
            Path(one["path"]).write_bytes(raw)
        return Reply("answer", {"outcome": "ok", "code": "", "detail": ""})

    def close(self):
        pass


def test_an_engine_that_copies_the_packs_does_not_pass():
    found = select(SUITE, ["decode/ggml"])
    engine = Copyist(cases_of("decode/ggml"))
    report = run(engine, found.packs, Options(expected=found.expected, limits=Limits()))
    assert report.counts == {"pass": found.expected}
    assert report.controls == {"caught": CONTROLS, "missed": 0}
    assert not report.passed
    (problem,) = report.problems
    assert problem.endswith("and fails with the rows in another order")


def test_a_rotated_case_without_an_answer_says_nothing():
    passed = cases_of("decode/ggml")
    for result, unlike in (("fail", CONTROLS), ("pass", 0), ("crash", 0)):
        controls, rotations = Controls(passed), 0
        while (one := controls.next()) is not None:
            rotations += controls._rotating
            controls.count(result_of(*one, result if controls._rotating else "fail"))
        assert (rotations, len(controls.unlike)) == (CONTROLS, unlike)
