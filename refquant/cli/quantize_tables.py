"""What `refquant quantize` prints: the plan of a dry run, and what became of the tensors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from refquant.cli.output import emit_json, format_bits, format_bytes, print_table, printable
from refquant.cli.quantize_job import Job, Result

if TYPE_CHECKING:
    from refquant.recipe import Assignment

__all__ = ["print_dry_run", "print_result", "result_facts"]


def result_facts(job: Job, result: Result) -> dict[str, Any]:
    """What was written, and what was done to every tensor."""
    return {
        "output": str(job.output),
        "root": result.root,
        "bytes": result.nbytes,
        "seconds": result.seconds,
        **_plan_facts(job),
    }


def _plan_facts(job: Job) -> dict[str, Any]:
    return {
        "recipe": job.recipe.to_data(),
        "bits_per_weight": _bits(job.assignments),
        "unused_rules": list(job.assignments.unused_rules(job.recipe)),
        "tensors": [
            {
                "name": one.tensor,
                "shape": list(one.shape),
                "from": one.source_scheme,
                "to": one.target_scheme,
                "untouched": one.is_untouched,
                "fallback": one.is_fallback,
                "rule": one.rule,
                "compute": one.compute,
                "activation": one.activation,
                "algorithm": one.algorithm,
                "reason": one.reason,
                "bytes": one.nbytes,
            }
            for one in job.assignments
        ],
    }


def print_dry_run(job: Job, *, as_json: bool) -> None:
    """What would be done to every tensor: no weight is read."""
    total = sum(one.nbytes for one in job.assignments)
    peak = max((4 * one.weights + one.nbytes for one in job.assignments), default=0)
    if as_json:
        plan = {**_plan_facts(job), "bytes": total, "peak_memory": peak}
        emit_json("quantize-plan", plan)
        return
    rows = [
        (
            one.tensor,
            "" if one.rule is None else one.rule,
            one.target_scheme,
            format_bytes(one.nbytes),
            format_bits(_bits([one])),
            one.reason,
        )
        for one in job.assignments
    ]
    footer = ("total", "", "", *_sizes(job.assignments), "")
    header = ("tensor", "rule", "scheme", "size", "bits/weight", "why")
    print_table(header, rows, numeric=[1, 3, 4], footer=footer)
    print(f"\nabout {format_bytes(peak)} of memory for the largest tensor; nothing was written")


def _bits(assignments: Sequence["Assignment"]) -> float:
    weights = sum(one.weights for one in assignments)
    return 8 * sum(one.nbytes for one in assignments) / max(weights, 1)


def print_result(job: Job, result: Result) -> None:
    """One row for the tensors that fared alike, then the file."""
    groups: dict[tuple[str, str, str], list[Assignment]] = {}
    for one in job.assignments:
        source = "untouched" if one.is_untouched else one.source_scheme
        groups.setdefault((one.target_scheme, source, one.reason), []).append(one)
    rows = [
        (target, source, len(members), *_sizes(members), reason)
        for (target, source, reason), members in groups.items()
    ]
    header = ("scheme", "from", "tensors", "size", "bits/weight", "why")
    total = ("total", "", len(job.assignments), *_sizes(job.assignments), "")
    print_table(header, rows, numeric=[2, 3, 4], footer=total)
    rate = format_bytes(result.nbytes / max(result.seconds, 1e-9))
    print(
        f"\nwrote {printable(str(job.output))}: {format_bytes(result.nbytes)} with texts, "
        f"in {result.seconds:.1f} s ({rate}/s)\nroot {result.root}"
    )


def _sizes(assignments: Sequence["Assignment"]) -> tuple[str, str]:
    nbytes = sum(one.nbytes for one in assignments)
    return format_bytes(nbytes), format_bits(_bits(assignments))
