"""A badge: which suite, how many of the cases passed, how many were waived."""

from html import escape

from refquant.conformance.results import BAD, Report

__all__ = ["badge_svg", "badge_text"]

GREEN, RED, GREY = "#2c7a3f", "#b3261e", "#6b6b6b"
LETTER = 6.6
"""Width of an average letter of 11 px."""


def badge_text(report: Report) -> tuple[str, str, str]:
    """The left text, the right text and the colour."""
    left = f"refquant {report.suite}{' smoke' if report.smoke else ''}"
    if report.problems:
        return left, "no evidence", GREY
    passed = report.counts.get("pass", 0)
    bad = sum(count for name, count in report.counts.items() if name in BAD)
    waived = report.counts.get("xfail", 0) + report.counts.get("waived", 0)
    return left, f"{passed}/{passed + bad + waived}, {waived} waived", RED if bad else GREEN


def badge_svg(report: Report) -> str:
    """The badge as an SVG image."""
    left, right, colour = badge_text(report)
    a, b = (round(LETTER * len(text)) + 12 for text in (left, right))
    style = 'font-family="sans-serif" font-size="11" fill="#fff"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{a + b}" height="20" role="img" '
        f'aria-label="{escape(left)}: {escape(right)}">'
        f'<rect width="{a}" height="20" fill="#333"/>'
        f'<rect x="{a}" width="{b}" height="20" fill="{colour}"/>'
        f'<text x="6" y="14" {style}>{escape(left)}</text>'
        f'<text x="{a + 6}" y="14" {style}>{escape(right)}</text></svg>\n'
    )
