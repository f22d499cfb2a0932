"""Another engine in Python, of files instead of blocks: the reader of `.rq` in refquant.

refquant conformance run 'container/*' --engine 'python conformance/kits/python/container.py'
"""

from collections.abc import Mapping
from pathlib import Path

import rq_adapter
from rq_adapter import Case, RejectedError, serve

from refquant.conformance.containers import file_digests
from refquant.errors import FormatError, UnsupportedError


def run(case: Case) -> Mapping[str, bytes]:
    """One file: the digests of its tensors, its documents and their names."""
    if case.op != "container":
        raise rq_adapter.UnsupportedError
    try:
        found = file_digests(Path(case.params["file"]), case.params["verify"])
    except (FormatError, UnsupportedError) as error:
        raise RejectedError(error.code) from error
    return {name: rows.tobytes() for name, rows in found.items()}


serve("refquant's reader", ["container.raw", "container.zstd", "container.operators"], run)
