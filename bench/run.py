"""Speed of refquant beside named peers: `make bench`, or `python bench/run.py decode`.

Every row is a paired ratio from this run; nothing here passes or fails.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Before NumPy is imported: every row is about one thread.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from bench.codecs import decode_rows, encode_rows, fit_rows, missing_peers
from bench.commands import command_rows
from bench.container import container_facts, container_rows
from bench.products import product_rows
from bench.quantizing import quantizing_facts, quantizing_rows
from bench.timing import print_table

GROUPS = {
    "decode": (decode_rows, "ns per weight"),
    "encode": (encode_rows, "ns per weight"),
    "fits": (fit_rows, "ns per weight"),
    "products": (product_rows, "ns per 1000 products"),
    "commands": (command_rows, "microseconds"),
    "container": (container_rows, "microseconds"),
    "quantize": (quantizing_rows, "milliseconds"),
}

# What a group measures beside times, as (what, how much).
FACTS = {
    "container": container_facts,
    "fits": missing_peers,
    "quantize": quantizing_facts,
}


def main() -> None:
    """Measure the groups that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"any of {', '.join(GROUPS)}; default all")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {min(unknown)!r}; there are {', '.join(GROUPS)}")
    report = {}
    for name in options.groups or GROUPS:
        rows, unit = GROUPS[name]
        measured = list(rows())
        facts = dict(FACTS[name]()) if name in FACTS else {}
        report[name] = [asdict(row) for row in measured]
        report |= {f"{name} facts": facts} if facts else {}
        if not options.json:
            print_table(measured, unit)
            for what, found in facts.items():
                print(f"{what}: {found}")
            print()
    if options.json:
        print(json.dumps({"schema": "refquant.bench/1", "groups": report}, indent=1))


if __name__ == "__main__":
    main()
