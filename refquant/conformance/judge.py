"""From an engine's answer and its files to the result of a case."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from refquant.conformance.compare import Verdict, compare
from refquant.conformance.exchange import Written
from refquant.conformance.packs import Array, Case, Comparison, Pack
from refquant.conformance.replies import Hello, Reply
from refquant.conformance.results import CaseResult, Difference, Result

__all__ = ["corrupted", "judge", "output_digest"]

SHOWN_BYTES = 32


def judge(pack: Pack, case: Case, reply: Reply, written: Written, hello: Hello) -> CaseResult:
    """What became of a case."""
    if reply.kind != "answer":
        return result_of(pack, case, reply.kind, detail=reply.detail)
    if reply.outcome == "unsupported":
        lied = hello.declared and all(map(hello.has, case.features))
        return result_of(pack, case, "unsupported-but-declared" if lied else "unsupported")
    if reply.outcome == "error":
        return result_of(pack, case, "fail", detail=f"error: {reply.data.get('detail', '')}")
    if case.outcome == "rejected":
        return _judge_rejection(pack, case, reply, hello)
    if reply.outcome == "rejected":
        detail = f"rejected with {reply.code or 'no code'}; it is valid"
        return result_of(pack, case, "fail", detail=detail)
    differences = tuple(
        one
        for array in case.outputs
        if (one := _difference(pack, case, array, written, hello.behaviours))
    )
    detail = f"{differences[0].output}: {_said(differences[0])}" if differences else ""
    return result_of(
        pack,
        case,
        "fail" if differences else "pass",
        detail=detail,
        differences=differences,
        output=output_digest(case, written),
    )


def _judge_rejection(pack: Pack, case: Case, reply: Reply, hello: Hello) -> CaseResult:
    if reply.outcome == "ok":
        detail = f"accepted; expected a rejection with {case.code}"
        return result_of(pack, case, "fail", detail=detail, output="accepted")
    with_codes = hello.behaviours.get("container.codes") != "none"
    if with_codes and reply.code != case.code:
        detail = f"rejected with {reply.code or 'no code'}, expected {case.code}"
        return result_of(pack, case, "fail", detail=detail, output=reply.code)
    return result_of(pack, case, "pass", output=reply.code)


def result_of(
    pack: Pack,
    case: Case,
    result: Result,
    *,
    detail: str = "",
    differences: tuple[Difference, ...] = (),
    output: str = "",
) -> CaseResult:
    """A result with what every result says of its case."""
    return CaseResult(
        case.id,
        case.digest[:8],
        result,
        pack.pack,
        case.op,
        case.level,
        case.clauses,
        detail,
        differences,
        output,
        why=case.why,
    )


def output_digest(case: Case, written: Written) -> str:
    """A short digest of all outputs, by which equal mistakes are recognized; empty without any."""
    if case.outputs and not written.arrays:
        return ""
    digest = sha256()
    for array in case.outputs:
        found = written.arrays.get(array.name)
        digest.update(b"-" if found is None else found.tobytes())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def corrupted(pack: Pack, case: Case) -> tuple[Pack, Case] | None:
    """The case with one bit of what it expects turned; None where that has no meaning.

    A right answer to such a control must be judged wrong. The turned array stands at the end of the
    binary, because the right one may also be an input. What is to be rejected is to be accepted.
    """
    if case.outcome == "rejected":
        return pack, msgspec.structs.replace(case, outcome="ok", code="")
    for number, array in enumerate(case.outputs):
        rule = array.cmp or Comparison()
        raw = bytearray(pack.raw(array))
        if rule.name == "digest":
            other = msgspec.structs.replace(rule, sha256=sha256(rule.sha256.encode()).hexdigest())
            turned = msgspec.structs.replace(array, cmp=other)
        elif rule.name == "bits" and raw:
            raw[-1] ^= 0x04
            turned = msgspec.structs.replace(array, off=len(pack.binary), shared=False, hex="")
            pack = msgspec.structs.replace(pack, binary=pack.binary + bytes(raw))
        else:
            continue
        outputs = (*case.outputs[:number], turned, *case.outputs[number + 1 :])
        return pack, msgspec.structs.replace(case, outputs=outputs)
    return None


def _difference(
    pack: Pack, case: Case, array: Array, written: Written, behaviours: Mapping[str, str]
) -> Difference | None:
    found = written.arrays.get(array.name)
    problem = written.problems.get(array.name, "")
    if found is None:
        return Difference(array.name, problem or "the output is missing")
    verdict = compare(pack, case, array, found, behaviours)
    if verdict.passed and not problem:
        return None
    expected = pack.array(array) if verdict.wanted is None else verdict.wanted
    offset = 0
    if found.shape == expected.shape and len(verdict.first) == found.ndim and found.size:
        strides = [1]
        for size in reversed(found.shape[1:]):
            strides.insert(0, strides[0] * size)
        place = sum(a * b for a, b in zip(verdict.first, strides, strict=True))
        offset = place * found.dtype.itemsize // 16 * 16
    return _shown(array.name, verdict, problem, offset, (found.tobytes(), expected.tobytes()))


def _shown(
    name: str, verdict: Verdict, problem: str, offset: int, both: tuple[bytes, bytes]
) -> Difference:
    found, expected = (raw[offset : offset + SHOWN_BYTES].hex() for raw in both)
    return Difference(
        name,
        problem or verdict.note,
        verdict.different,
        verdict.first,
        verdict.found,
        verdict.expected,
        offset,
        found,
        expected,
    )


def _said(difference: Difference) -> str:
    if difference.note:
        return difference.note
    place = list(difference.first)
    return (
        f"{difference.different} wrong, the first at {place}: found {difference.found}, "
        f"expected {difference.expected}"
    )
