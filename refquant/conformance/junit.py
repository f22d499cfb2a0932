"""A report in JUnit's XML, which every continuous integration reads."""

from xml.sax.saxutils import escape, quoteattr

from refquant.conformance.results import BAD, CaseResult, Report

__all__ = ["junit_xml"]


def junit_xml(report: Report) -> str:
    """One test suite; a pack is a class, a case a test, a run that is no evidence an error."""
    failed = sum(one.result in BAD for one in report.results)
    skipped = sum(one.result in ("unsupported", "waived", "xfail") for one in report.results)
    name = f"{report.engine['name']} {report.engine['version']}".strip()
    head = (
        f"<testsuite name={_attribute(name)} tests={_attribute(len(report.results))} "
        f"failures={_attribute(failed)} skipped={_attribute(skipped)} "
        f"errors={_attribute(len(report.problems))} time={_attribute(report.seconds)}>"
    )
    lines = ['<?xml version="1.0" encoding="utf-8"?>', head]
    lines += [_case(one) for one in report.results]
    lines += [
        f'<testcase classname="run" name="evidence"><error message={_attribute(one)}/></testcase>'
        for one in report.problems
    ]
    return "\n".join([*lines, "</testsuite>", ""])


def _case(one: CaseResult) -> str:
    head = (
        f"<testcase classname={_attribute(one.pack)} name={_attribute(f'{one.id}@{one.digest}')} "
        f"time={_attribute(f'{one.microseconds / 1e6:.6f}')}"
    )
    if one.result == "pass":
        return head + "/>"
    if one.result not in BAD:
        return (
            f"{head}><skipped message={_attribute(f'{one.result} {one.link}'.strip())}/></testcase>"
        )
    text = "\n".join([one.detail, *(f"looks like {named}" for named in one.diagnosis)])
    kind, message = _attribute(one.result), _attribute(one.detail or one.result)
    return f"{head}><failure type={kind} message={message}>{_text(text)}</failure></testcase>"


def _attribute(value: object) -> str:
    return quoteattr(_legal(str(value)))


def _text(value: str) -> str:
    return escape(_legal(value))


def _legal(text: str) -> str:
    """Without the characters that XML cannot hold, which an engine's output may."""
    return "".join(c if c >= " " or c in "\t\n" else f"\\x{ord(c):02x}" for c in text)
