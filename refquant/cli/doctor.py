"""`refquant doctor`: what this installation is, and whether its arithmetic is the standard's."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from refquant.cli.output import emit_json, print_pairs, tool_version

__all__ = ["doctor"]

_PACKAGES = ("numpy", "msgpack", "zstandard", "tokenizers", "cyclopts", "rich", "msgspec")
_OPTIONAL = ("torch", "jinja2", "huggingface-hub", "matplotlib", "distributed")


def doctor(
    *, json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False
) -> int:
    """Check this installation and its arithmetic.

    Prints the versions and the processor that a report about wrong results needs, then asks the
    machine, by computing, whether the rules hold that exact results rely on: operations rounded
    once, subnormal numbers kept, products not fused with sums. The exit status is 1 if one of
    those does not hold.

    For example:
      refquant doctor
      refquant doctor --json
    """
    from refquant.cli.probes import probes

    answers = probes()
    sound = all(probe.passed for probe in answers if probe.exact_zone)
    facts = _facts()
    if json:
        checks = [
            {"name": p.name, "passed": p.passed, "exact_zone": p.exact_zone, "detail": p.detail}
            for p in answers
        ]
        emit_json("doctor", {**facts, "checks": checks, "sound": sound})
        return 0 if sound else 1
    print_pairs(_lines(facts))
    print()
    for probe in answers:
        note = f": {probe.detail}" if probe.detail else ""
        print(f"{'ok  ' if probe.passed else 'FAIL'}  {probe.name}{note}")
    if not sound:
        print("\nExact results cannot be promised on this machine.")
    return 0 if sound else 1


def _facts() -> dict[str, Any]:
    from refquant.runtime.workers import usable_processors

    return {
        "refquant": tool_version(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors_usable": usable_processors(),
        "packages": _versions(_PACKAGES),
        "optional_packages": _versions(_OPTIONAL),
        **_numpy_facts(),
    }


def _numpy_facts() -> dict[str, Any]:
    """What NumPy was built with: its BLAS and the vector instructions it found here."""
    import numpy as np

    from refquant.runtime.blas import blas_threads

    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "blas_threads": blas_threads(),
        "simd": list(config.get("SIMD Extensions", {}).get("found", [])),
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _lines(facts: dict[str, Any]) -> list[tuple[str, object]]:
    threads = facts["blas_threads"]
    return [
        ("refquant", facts["refquant"]),
        ("Python", facts["python"]),
        ("system", facts["system"]),
        ("processor", f"{facts['processor']} ({facts['processors_usable']} usable)"),
        ("BLAS", facts["blas"] + (f", {threads} threads" if threads else "")),
        ("vector instructions", " ".join(facts["simd"]) or None),
        *facts["packages"].items(),
        *((name, found) for name, found in facts["optional_packages"].items()),
    ]
